//! The table of hints, row by row, on what Python really prints.

use std::time::Duration;

use rgrid_core::hint::{Given, Local, LocalKind, hint};
use rgrid_core::outcome::Outcome;

/// A user's machine with these files, folders (ending in `/`), modules and variables.
struct Machine(&'static [&'static str]);

impl Local for Machine {
    fn path(&self, path: &str) -> Option<LocalKind> {
        match self.0 {
            names if names.contains(&path) => Some(LocalKind::File),
            names if names.contains(&format!("{path}/").as_str()) => Some(LocalKind::Folder),
            _ => None,
        }
    }

    fn module(&self, name: &str) -> Option<String> {
        let file = format!("{name}.py");
        self.path(name).map(|_| name.to_owned()).or_else(|| self.path(&file).map(|_| file))
    }

    fn variable(&self, name: &str) -> bool {
        self.0.contains(&format!("${name}").as_str())
    }
}

const GIVEN: Given = Given { network: true, stdin: false };

fn show(outcome: &Outcome, stderr: &str, given: Given, here: &'static [&'static str]) -> String {
    let Some(hint) = hint(outcome, stderr, given, &Machine(here)) else {
        return "no hint".to_owned();
    };
    let before = hint.before.map(|before| before + " ").unwrap_or_default();
    let without: String = hint.without.iter().map(|option| format!(" (without {option})")).collect();
    format!("{}\n{before}rgrid run {}{without}", hint.explanation, hint.options.join(" "))
}

fn check(stderr: &str, here: &'static [&'static str]) -> String {
    show(&Outcome::Exited { code: 1 }, stderr, GIVEN, here)
}

#[test]
fn a_file_that_is_here_is_to_be_sent() {
    let stderr = r#"Traceback (most recent call last):
  File "/home/u/p/s.py", line 4, in <module>
    load("a")
  File "/home/u/p/s.py", line 2, in load
    with open(f"config/{name}.yml") as f:
         ^^^^^^^^^^^^^^^^^^^^^^^^^^
FileNotFoundError: [Errno 2] No such file or directory: 'config/a.yml'
"#;
    insta::assert_snapshot!(check(stderr, &["config/a.yml"]), @r#"
    the file config/a.yml is here and was not sent with the script
    rgrid run --input config/a.yml
    "#);
    insta::assert_snapshot!(check(stderr, &["config/"]), @r#"
    the folder config is here and was not sent with the script
    rgrid run --input config
    "#);
    insta::assert_snapshot!(check(stderr, &[]), @"no hint");
}

#[test]
fn the_cause_of_a_chained_exception_is_found() {
    let stderr = r#"Traceback (most recent call last):
  File "/home/u/p/s.py", line 3, in load
    open("config/a.yml")
FileNotFoundError: [Errno 2] No such file or directory: 'config/a.yml'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/home/u/p/s.py", line 6, in <module>
    load()
  File "/home/u/p/s.py", line 5, in load
    raise RuntimeError("cannot load settings") from error
RuntimeError: cannot load settings
"#;
    insta::assert_snapshot!(check(stderr, &["config/a.yml"]), @r#"
    the file config/a.yml is here and was not sent with the script
    rgrid run --input config/a.yml
    "#);
}

#[test]
fn notes_behind_an_exception_do_not_hide_it() {
    let stderr = r#"Traceback (most recent call last):
  File "/home/u/p/s.py", line 2, in <module>
    open("data/x.csv")
FileNotFoundError: [Errno 2] No such file or directory: 'data/x.csv'
while reading: table one
see docs
"#;
    insta::assert_snapshot!(check(stderr, &["data/x.csv"]), @r#"
    the file data/x.csv is here and was not sent with the script
    rgrid run --input data/x.csv
    "#);
}

#[test]
fn a_member_of_an_exception_group_is_found() {
    let stderr = r#"  + Exception Group Traceback (most recent call last):
  |   File "/home/u/p/s.py", line 7, in <module>
  |     asyncio.run(main())
  |   File "/usr/lib/python3.11/asyncio/taskgroups.py", line 145, in __aexit__
  |     raise me from None
  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/home/u/p/s.py", line 3, in read
    |     open(f"data/{name}.csv")
    | FileNotFoundError: [Errno 2] No such file or directory: 'data/x.csv'
    +------------------------------------
"#;
    insta::assert_snapshot!(check(stderr, &["data/x.csv"]), @r#"
    the file data/x.csv is here and was not sent with the script
    rgrid run --input data/x.csv
    "#);
}

#[test]
fn a_folder_that_is_here_is_to_be_sent() {
    let stderr =
        "    os.listdir(folder)\nFileNotFoundError: [Errno 2] No such file or directory: 'pictures'\n";
    insta::assert_snapshot!(check(stderr, &["pictures/"]), @r#"
    the folder pictures is here and was not sent with the script
    rgrid run --input pictures
    "#);
}

#[test]
fn libraries_and_programs_that_say_it_in_their_own_words_are_understood() {
    for stderr in [
        "usage: s.py [-h] f\ns.py: error: argument f: can't open 'data/x.csv': [Errno 2] No such file or directory: 'data/x.csv'\n",
        "cat: data/x.csv: No such file or directory\n",
        "ValueError: file data/x.csv does not exist\n",
        "OSError: data/x.csv not found.\n",
        "rasterio.errors.RasterioIOError: data/x.csv: No such file or directory\n",
        "OSError: Unable to open file (unable to open file: name = 'data/x.csv', errno = 2)\n",
    ] {
        assert!(check(stderr, &["data/x.csv"]).ends_with("rgrid run --input data/x.csv"), "{stderr}");
    }
    insta::assert_snapshot!(check("ValueError: data not found\n", &["data/"]), @"no hint");
}

#[test]
fn a_file_where_a_folder_was_made_is_to_be_sent() {
    let stderr = "IsADirectoryError: [Errno 21] Is a directory: 'model'\n";
    insta::assert_snapshot!(check(stderr, &["model"]), @r#"
    the file model is here and was not sent with the script
    rgrid run --input model
    "#);
    insta::assert_snapshot!(check(stderr, &["model/"]), @"no hint");
}

#[test]
fn a_database_is_to_be_sent() {
    let literal = r#"Traceback (most recent call last):
  File "/home/u/p/s.py", line 2, in <module>
    con = sqlite3.connect("store/app.db")
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
sqlite3.OperationalError: unable to open database file
"#;
    insta::assert_snapshot!(check(literal, &["store/app.db"]), @r#"
    the file store/app.db is here and was not sent with the script
    rgrid run --input store/app.db
    "#);
    insta::assert_snapshot!(check(literal, &["store/"]), @r#"
    the folder store is here and was not sent with the script
    rgrid run --input store
    "#);
    let variable = "    con = sqlite3.connect(db)\nsqlite3.OperationalError: unable to open database file\n";
    insta::assert_snapshot!(check(variable, &["store/"]), @r#"
    the database that it opens, or the folder for it, was not sent; add --input PATH
    rgrid run
    "#);
    let alchemy = r#"    engine = create_engine("sqlite:///store/app.db")
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) unable to open database file
(Background on this error at: https://sqlalche.me/e/20/e3q8)
"#;
    insta::assert_snapshot!(check(alchemy, &["store/app.db"]), @r#"
    the file store/app.db is here and was not sent with the script
    rgrid run --input store/app.db
    "#);
}

#[test]
fn a_module_that_is_here_is_to_be_sent() {
    let stderr = r#"Traceback (most recent call last):
  File "/home/u/p/s.py", line 3, in <module>
    importlib.import_module(name)
  File "<frozen importlib._bootstrap>", line 1140, in _find_and_load_unlocked
ModuleNotFoundError: No module named 'plugins'
"#;
    insta::assert_snapshot!(check(stderr, &["plugins/"]), @r#"
    the module plugins is here and was not sent: nothing in the script says beforehand that it is imported
    rgrid run --input plugins
    "#);
    insta::assert_snapshot!(check("ModuleNotFoundError: No module named 'late.part'\n", &["late.py"]), @r#"
    the module late.part is here and was not sent: nothing in the script says beforehand that it is imported
    rgrid run --input late.py
    "#);
    insta::assert_snapshot!(check("ModuleNotFoundError: No module named 'numpy'\n", &[]), @"no hint");
}

#[test]
fn a_variable_that_is_set_here_is_to_be_named() {
    let environment = r#"Traceback (most recent call last):
  File "/home/u/p/s.py", line 2, in <module>
    token = os.environ["API_KEY"]
            ~~~~~~~~~~^^^^^^^^^^^
  File "<frozen os>", line 679, in __getitem__
KeyError: 'API_KEY'
"#;
    insta::assert_snapshot!(check(environment, &["$API_KEY"]), @r#"
    the environment variable API_KEY is set here; variables travel only when they are named
    rgrid run --env API_KEY
    "#);
    insta::assert_snapshot!(check(environment, &[]), @"no hint");
    let dictionary = "    d[\"API_KEY\"]\n    ~^^^^^^^^^^^\nKeyError: 'API_KEY'\n";
    insta::assert_snapshot!(check(dictionary, &["$API_KEY"]), @"no hint");
}

#[test]
fn a_question_without_an_answer_is_to_be_piped_in() {
    let stderr = "who? Traceback (most recent call last):\n    name = input(\"who? \")\nEOFError: EOF when reading a line\n";
    insta::assert_snapshot!(check(stderr, &[]), @r#"
    it asked for input, and nothing was piped in
    echo ANSWER | rgrid run
    "#);
    let piped = Given { stdin: true, ..GIVEN };
    insta::assert_snapshot!(show(&Outcome::Exited { code: 1 }, stderr, piped, &[]), @"no hint");
}

#[test]
fn a_refused_network_says_why() {
    let unreachable =
        "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>\n";
    let cut_off = Given { network: false, ..GIVEN };
    insta::assert_snapshot!(show(&Outcome::Exited { code: 1 }, unreachable, cut_off, &[]), @r#"
    it wanted the network, and --no-network cut it off
    rgrid run  (without --no-network)
    "#);
    insta::assert_snapshot!(check(unreachable, &[]), @"no hint");
    let localhost = r#"    urllib.request.urlopen("http://127.0.0.1:9/")
urllib.error.URLError: <urlopen error [Errno 111] Connection refused>
"#;
    insta::assert_snapshot!(check(localhost, &[]), @r#"
    it looked for a service on this machine (localhost); on the grid localhost is the job itself: use an address that the grid can reach
    rgrid run
    "#);
    let private = "requests.exceptions.ConnectionError: HTTPConnectionPool(host='192.168.1.7', port=80): Max retries \
                   exceeded with url: / (Caused by NewConnectionError('Failed to establish a new connection: [Errno 113] \
                   No route to host'))\n";
    insta::assert_snapshot!(check(private, &[]), @r#"
    it looked for a private address; the grid lets jobs reach those only where its operator allows it
    rgrid run
    "#);
}

#[test]
fn memory_is_asked_for_with_room_to_spare() {
    let outcome = |limit_bytes, peak_bytes| Outcome::OutOfMemory { limit_bytes, peak_bytes };
    insta::assert_snapshot!(show(&outcome(2 << 30, (2 << 30) + 4096), "", GIVEN, &[]), @r#"
    it was killed at its memory limit of 2G (peak 2G)
    rgrid run --memory 4G
    "#);
    insta::assert_snapshot!(show(&outcome(300 << 20, 280 << 20), "", GIVEN, &[]), @r#"
    it was killed at its memory limit of 300M (peak 280M)
    rgrid run --memory 512M
    "#);
    insta::assert_snapshot!(show(&outcome(u64::MAX, u64::MAX), "", GIVEN, &[]), @r#"
    it was killed at its memory limit of 16777215T (peak 16777215T)
    rgrid run --memory 16777215T
    "#);
    let numpy = "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array with shape \
                 (1000000000,) and data type float64\n";
    insta::assert_snapshot!(check(numpy, &[]), @r#"
    it asked for 7.4G more memory than it could have
    rgrid run --memory 13G
    "#);
    insta::assert_snapshot!(check("    x = bytearray(10**18)\nMemoryError\n", &[]), @r#"
    it asked for more memory than it could have; give it more with --memory, such as --memory 8G
    rgrid run
    "#);
}

#[test]
fn time_disk_and_outputs_say_how_to_go_on() {
    let timeout = Outcome::TimedOut { timeout: Duration::from_secs(90) };
    insta::assert_snapshot!(show(&timeout, "", GIVEN, &[]), @r#"
    it was ended after 1m30s, its time limit
    rgrid run --timeout 3m
    "#);
    insta::assert_snapshot!(show(&Outcome::DiskFull { limit_bytes: 20 << 30 }, "", GIVEN, &[]), @r#"
    it wrote more than the 20G of disk it was given
    rgrid run --disk 40G
    "#);
    let large = Outcome::OutputTooLarge { limit_bytes: 10 << 30, size_bytes: 12 << 30 };
    insta::assert_snapshot!(show(&large, "", GIVEN, &[]), @r#"
    it wrote 12G of files and at most 10G come back; write what is only needed on the way into the folder that tempfile gives
    rgrid run
    "#);
    insta::assert_snapshot!(check("OSError: [Errno 28] No space left on device\n", &[]), @r#"
    its disk was full; give it more with --disk, such as --disk 40G
    rgrid run
    "#);
    let damaged = Outcome::InputMissing { path: "/p/x.csv".to_owned(), corrupt: true };
    insta::assert_snapshot!(show(&damaged, "", GIVEN, &[]), @r#"
    /p/x.csv was damaged on the grid; the same command sends it again
    rgrid run
    "#);
}

#[test]
fn success_and_unknown_failures_have_none() {
    let stderr = "FileNotFoundError: [Errno 2] No such file or directory: 'a.txt'\n";
    assert_eq!(show(&Outcome::Exited { code: 0 }, stderr, GIVEN, &["a.txt"]), "no hint");
    assert_eq!(check("ValueError: bad\n", &["bad"]), "no hint");
    assert_eq!(check("", &[]), "no hint");
    assert_eq!(check(&"\u{1f600}':\"".repeat(10_000), &[]), "no hint");
}
