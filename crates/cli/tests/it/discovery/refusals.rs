//! Messages for what cannot be sent.

use super::{Tree, check};

#[test]
fn a_missing_script_is_named_with_the_nearest_name() {
    let tree = [("p/process.py", ""), ("p/notes.txt", "")];
    insta::assert_snapshot!(check(&tree, "proces.py"), @"refused: there is no file proces.py; did you mean process.py?");
    insta::assert_snapshot!(check(&tree, "x.py"), @"refused: there is no file x.py");
}

#[test]
fn folders_notebooks_pipes_and_stdin_are_no_scripts() {
    let tree = [("p/folder/x.txt", ""), ("p/my book.ipynb", "{}")];
    insta::assert_snapshot!(check(&tree, "folder"), @"refused: folder is a folder and holds no __main__.py; name the script in it");
    insta::assert_snapshot!(check(&tree, "'my book.ipynb'"), @"refused: my book.ipynb is a notebook, not a script; convert it with: jupyter nbconvert --to script 'my book.ipynb'");
    insta::assert_snapshot!(check(&tree, "/dev/null"), @"refused: /dev/null is not a regular file, and cannot be sent; save the script into a file");
    insta::assert_snapshot!(check(&tree, "-"), @"refused: a script cannot be read from stdin; save it into a file and name the file");
    insta::assert_snapshot!(check(&tree, "-m my-module.py"), @r#"refused: "my-module.py" is not the name of a module; a file is run without -m"#);
}

#[test]
fn the_whole_disk_and_the_home_folder_are_refused() {
    let tree = [("p/s.py", ""), ("home/x", "")];
    insta::assert_snapshot!(check(&tree, "s.py --root=/"), @"refused: / is never sent whole; name a folder in it, or say that the argument --root=/ names no folder: --no-input /");
    insta::assert_snapshot!(check(&tree, "s.py ../home"), @"refused: /home is never sent whole; name a folder in it, or say that the argument ../home names no folder: --no-input /home");
    insta::assert_snapshot!(check(&tree, "--input .. s.py"), @"refused:  is never sent whole; name a folder in it");
    insta::assert_snapshot!(check(&tree, "--no-input / s.py --separator /"), @r#"
    /p/s.py: program
    NOT /: NoInput (argument 2)
    "#);
}

#[test]
fn an_input_that_is_not_there_is_refused() {
    let tree = [("p/s.py", ""), ("p/config.yml", "")];
    insta::assert_snapshot!(check(&tree, "--input confg.yml s.py"), @"refused: --input confg.yml: there is no such file or folder; did you mean config.yml?");
}

#[test]
fn names_that_are_not_utf8_are_said() {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let tree = Tree::new(&[("p/s.py", ""), ("p/in/good.txt", "")]);
    let bad = std::ffi::OsStr::from_bytes(b"b\xffd.txt");
    std::fs::write(tree.path("p/in").join(bad), "").unwrap();
    insta::assert_snapshot!(tree.listing("s.py in"), @r#"
    /p/in/good.txt: argument 1
    /p/s.py: program
    NOT /p/in/b�d.txt: Name (argument 1)
    warning: "/p/in/b\xFFd.txt" was not sent: its name is not UTF-8, or too long
    "#);
    let mut request = tree.request("s.py");
    request.args.push(std::ffi::OsString::from_vec(b"b\xffd.txt".to_vec()));
    insta::assert_snapshot!(rgrid_cli::discovery::discover(&request).unwrap_err(), @r#"b\xFFd.txt is not UTF-8, and cannot be sent; rename it"#);
}
