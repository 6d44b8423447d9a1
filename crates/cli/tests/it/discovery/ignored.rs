//! What never travels by itself.

use super::check;

#[test]
fn ignore_files_count_as_git_has_it() {
    let tree = [
        ("p/.git/HEAD", ""),
        ("p/.gitignore", "*.log\n/build/\n!keep.log\n# comment\n"),
        ("p/s.py", ""),
        ("p/a.log", ""),
        ("p/keep.log", ""),
        ("p/build/x.o", ""),
        ("p/sub/build/y.o", ""),
        ("p/sub/.gitignore", "!b.log\n*.tmp\n"),
        ("p/sub/b.log", ""),
        ("p/sub/c.tmp", ""),
        ("p/c.tmp", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py ."), @r#"
    /p/.gitignore: argument 1
    /p/c.tmp: argument 1
    /p/keep.log: argument 1
    /p/s.py: program
    /p/sub/.gitignore: argument 1
    /p/sub/b.log: argument 1
    /p/sub/build/y.o: argument 1
    NOT /p/.git: NeverSent (argument 1)
    NOT /p/a.log: /p/.gitignore has *.log (argument 1)
    NOT /p/build: /p/.gitignore has /build/ (argument 1)
    NOT /p/sub/c.tmp: /p/sub/.gitignore has *.tmp (argument 1)
    "#);
}

#[test]
fn rgridignore_counts_above_gitignore() {
    let tree = [
        ("p/.gitignore", "data/\n"),
        ("p/.rgridignore", "!data/\nsecret.csv\n"),
        ("p/s.py", "open('data/x.csv'); open('secret.csv')"),
        ("p/data/x.csv", ""),
        ("p/secret.csv", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/data/x.csv: literal s.py:1
    /p/s.py: program
    NOT /p/secret.csv: /p/.rgridignore has secret.csv (literal s.py:1)
    "#);
}

#[test]
fn an_ignored_literal_stays_and_says_which_pattern_did_it() {
    let tree = [
        ("p/.git/HEAD", ""),
        ("p/.gitignore", "data/\n"),
        ("p/s.py", "open('data/x.csv'); open('.env'); open('id_rsa')\nimport local_settings"),
        ("p/data/x.csv", ""),
        ("p/.env", ""),
        ("p/id_rsa", ""),
        ("p/local_settings.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/local_settings.py: import s.py:2
    /p/s.py: program
    NOT /p/.env: NeverSent (literal s.py:1)
    NOT /p/data/x.csv: /p/.gitignore has data/ (literal s.py:1)
    NOT /p/id_rsa: NeverSent (literal s.py:1)
    "#);
}

#[test]
fn an_argument_that_is_ignored_travels() {
    let tree = [
        ("p/.gitignore", "data/\n*.bak\n.env\n"),
        ("p/s.py", ""),
        ("p/data/x.csv", ""),
        ("p/data/old.bak", ""),
        ("p/y.bak", ""),
        ("p/.env", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py data y.bak .env"), @r#"
    /p/.env: argument 3
    /p/data/x.csv: argument 1
    /p/s.py: program
    /p/y.bak: argument 2
    NOT /p/data/old.bak: /p/.gitignore has *.bak (argument 1)
    "#);
}

#[test]
fn a_folder_whose_whole_content_is_ignored_is_explained() {
    let tree = [("p/.gitignore", "data/*\n"), ("p/s.py", ""), ("p/data/x.csv", "")];
    insta::assert_snapshot!(check(&tree, "s.py data"), @r#"
    /p/data/: argument 1
    /p/s.py: program
    NOT /p/data/x.csv: /p/.gitignore has data/* (argument 1)
    warning: /p/data travels empty: /p/.gitignore excludes it with data/*; to send what is in it, add --input /p/data
    "#);
    insta::assert_snapshot!(check(&tree, "--input data s.py data"), @r#"
    /p/data/x.csv: --input
    /p/s.py: program
    "#);
}

#[test]
fn environments_are_known_by_what_is_in_them() {
    let tree = [
        ("p/s.py", ""),
        ("p/myenv/pyvenv.cfg", ""),
        ("p/myenv/lib/x.py", ""),
        ("p/conda/conda-meta/history", ""),
        ("p/envelope/letter.txt", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py ."), @r#"
    /p/envelope/letter.txt: argument 1
    /p/s.py: program
    NOT /p/conda: NeverSent (argument 1)
    NOT /p/myenv: NeverSent (argument 1)
    "#);
}

#[test]
fn ignore_files_above_a_project_count_up_to_the_repository() {
    let tree = [
        (".gitignore", "*.csv\n"),
        ("p/.git/HEAD", ""),
        ("p/.gitignore", "*.log\n"),
        ("p/part/pyproject.toml", ""),
        ("p/part/s.py", "open('a.csv'); open('b.log')"),
        ("p/part/a.csv", ""),
        ("p/part/b.log", ""),
    ];
    insta::assert_snapshot!(check(&tree, "part/s.py"), @r#"
    /p/part/a.csv: literal s.py:1
    /p/part/s.py: program
    NOT /p/part/b.log: /p/.gitignore has *.log (literal s.py:1)
    "#);
}
