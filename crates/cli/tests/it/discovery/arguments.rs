//! What the command line names.

use super::check;

#[test]
fn arguments_that_exist_travel_also_after_an_equals_sign() {
    let tree = [
        ("p/s.py", ""),
        ("p/a.csv", ""),
        ("p/b.csv", ""),
        ("p/c=d.csv", ""),
        ("p/e.txt", ""),
        ("p/list.txt", ""),
        ("p/unnamed.csv", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py a.csv --in=b.csv c=d.csv key=e.txt @list.txt --fast 3 ''"), @r#"
    /p/a.csv: argument 1
    /p/b.csv: argument 2
    /p/c=d.csv: argument 3
    /p/e.txt: argument 4
    /p/list.txt: argument 5
    /p/s.py: program
    "#);
}

#[test]
fn a_folder_travels_whole_and_brings_outputs_back() {
    let tree = [
        ("p/pyproject.toml", ""),
        ("p/s.py", ""),
        ("p/in/a.txt", ""),
        ("p/in/deep/b.txt", ""),
        ("p/in/empty/", ""),
        ("p/in/node_modules/x.js", ""),
        ("p/in/.env", ""),
        ("p/in/server.pem", ""),
        ("outside/c.txt", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py in ../outside"), @r#"
    /outside/c.txt: argument 2
    /p/in/a.txt: argument 1
    /p/in/deep/b.txt: argument 1
    /p/in/empty/: argument 1
    /p/s.py: program
    NOT /p/in/.env: NeverSent (argument 1)
    NOT /p/in/node_modules: NeverSent (argument 1)
    NOT /p/in/server.pem: NeverSent (argument 1)
    outputs of /outside
    "#);
}

#[test]
fn the_folder_of_a_file_to_be_written_is_there() {
    let tree = [("p/s.py", ""), ("p/out/old.csv", ""), ("results/", "")];
    insta::assert_snapshot!(check(&tree, "s.py --to=out/new.csv ../results/x.csv nowhere/x.csv /tmp/y.csv"), @r#"
    /p/out/: argument 1
    /p/s.py: program
    /results/: argument 2
    "#);
}

#[test]
fn a_script_outside_the_working_directory_has_its_own_folder_as_project() {
    let tree = [("tools/s.py", "open('own.txt')"), ("tools/own.txt", ""), ("p/x.csv", ""), ("p/own.txt", "")];
    insta::assert_snapshot!(check(&tree, "../tools/s.py x.csv"), @r#"
    /p/x.csv: argument 1
    /tools/own.txt: literal s.py:1
    /tools/s.py: program
    NOT /p/own.txt: OutsideProject (literal s.py:1)
    "#);
}

#[test]
fn a_quoted_pattern_is_expanded_as_the_script_would() {
    let tree = [("p/s.py", ""), ("p/d/a.csv", ""), ("p/d/b.csv", ""), ("p/d/c.txt", ""), ("p/ab", "")];
    insta::assert_snapshot!(check(&tree, "s.py 'd/*.csv' '(a|b)*' '*'"), @r#"
    /p/d/a.csv: argument 1
    /p/d/b.csv: argument 1
    /p/s.py: program
    "#);
}

#[test]
fn a_python_file_as_argument_is_followed() {
    let tree = [
        ("p/s.py", "import runpy"),
        ("p/job.py", "import part\nopen('x.txt')"),
        ("p/part.py", ""),
        ("p/x.txt", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py job.py"), @r#"
    /p/job.py: argument 1
    /p/part.py: import job.py:1
    /p/s.py: program
    /p/x.txt: literal job.py:2
    "#);
}

#[test]
fn devices_and_missing_links_are_named() {
    let tree = [("p/s.py", ""), ("p/dead -> nothing", ""), ("p/loop -> loop", "")];
    insta::assert_snapshot!(check(&tree, "s.py /dev/null dead loop"), @r#"
    /p/s.py: program
    NOT /dev/null: Special (argument 1)
    NOT /p/dead: Dangling (argument 2)
    NOT /p/loop: Dangling (argument 3)
    "#);
}

#[test]
fn links_inside_the_project_travel_as_links_and_others_as_what_they_lead_to() {
    let tree = [
        ("p/.git/HEAD", ""),
        ("p/s.py", "open('latest/x.csv')"),
        ("p/runs/7/x.csv", ""),
        ("p/latest -> runs/7", ""),
        ("p/in/near.csv -> ../runs/7/x.csv", ""),
        ("p/in/far.csv -> ../../store/far.csv", ""),
        ("p/in/farther -> $TOP/store", ""),
        ("p/in/up -> ..", ""),
        ("store/far.csv", ""),
        ("store/back -> .", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py in"), @r#"
    /p/in/far.csv: argument 1
    /p/in/farther/back -> .: argument 1
    /p/in/farther/far.csv: argument 1
    /p/in/near.csv -> ../runs/7/x.csv: argument 1
    /p/in/up -> ..: argument 1
    /p/latest -> runs/7: literal s.py:1
    /p/runs/7/x.csv: target of /p/in/near.csv
    /p/s.py: program
    "#);
}

#[test]
fn input_include_no_input_and_output_say_what_else() {
    let tree = [
        ("p/s.py", "open('a.txt')"),
        ("p/a.txt", ""),
        ("p/.gitignore", "cache/\n*.log\n"),
        ("p/cache/1.bin", ""),
        ("p/x.log", ""),
        ("p/m/1.json", ""),
        ("p/m/n/2.json", ""),
        ("p/m/3.log", ""),
        ("p/big/huge.bin", ""),
        ("p/big/small.txt", ""),
        ("p/plugin.py", "import extra"),
        ("p/extra.py", ""),
    ];
    let command = "--input cache --input plugin.py --include 'm/**/*.json' --include '*.nothing' --no-input big/huge.bin \
                   --no-input a.txt --output /tmp/out.csv --output rel s.py big";
    insta::assert_snapshot!(check(&tree, command), @r#"
    /p/big/small.txt: argument 1
    /p/cache/1.bin: --input
    /p/extra.py: import plugin.py:1
    /p/m/1.json: --include m/**/*.json
    /p/m/n/2.json: --include m/**/*.json
    /p/plugin.py: --input
    /p/s.py: program
    NOT /p/a.txt: NoInput (literal s.py:1)
    NOT /p/big/huge.bin: NoInput (argument 1)
    output /tmp/out.csv
    output /p/rel
    warning: --include *.nothing matches nothing
    "#);
}
