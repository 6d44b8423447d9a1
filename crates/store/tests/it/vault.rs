//! The vault: what it seals opens in one place only, and its key file is made once and kept to its owner.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_store::vault::{Error, Place, Sealed, Vault};

fn key_file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grid").join("vault.key");
    (folder, path)
}

fn place(name: &str) -> Place<'_> {
    Place { account: AccountId::new(1, [1; 10]), execution: ExecutionId::new(1, [2; 10]), name }
}

#[test]
fn the_key_file_is_made_once_and_only_its_owner_may_read_it() {
    let (_folder, path) = key_file();
    let first = Vault::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Vault::open(&path).unwrap().sealing_key(), first.sealing_key());
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(files, 1, "no draft of the key stays behind");
}

#[test]
fn processes_that_start_at_once_agree_on_one_key() {
    let (_folder, path) = key_file();
    let names: Vec<_> = std::thread::scope(|scope| {
        let opened: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Vault::open(&path).unwrap().sealing_key())).collect();
        opened.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

#[test]
fn a_sealed_value_opens_in_its_place_and_nowhere_else() {
    let (_folder, path) = key_file();
    let vault = Vault::open(&path).unwrap();
    let sealed = vault.seal(&place("TOKEN"), b"swordfish").unwrap();
    assert_eq!(vault.open_sealed(&place("TOKEN"), &sealed).unwrap(), b"swordfish");

    let elsewhere = [
        Place { name: "TOKEN2", ..place("TOKEN") },
        Place { account: AccountId::new(2, [1; 10]), ..place("TOKEN") },
        Place { execution: ExecutionId::new(2, [2; 10]), ..place("TOKEN") },
    ];
    for place in elsewhere {
        assert!(matches!(vault.open_sealed(&place, &sealed), Err(Error::Damaged)), "{place:?}");
    }
    for at in 0..sealed.ciphertext.len() {
        let mut changed = sealed.clone();
        changed.ciphertext[at] ^= 1;
        assert!(matches!(vault.open_sealed(&place("TOKEN"), &changed), Err(Error::Damaged)), "byte {at}");
    }
    let cut = Sealed { ciphertext: sealed.ciphertext[..10].to_vec(), ..sealed };
    assert!(matches!(vault.open_sealed(&place("TOKEN"), &cut), Err(Error::Damaged)));
}

#[test]
fn sealing_twice_gives_different_bytes_that_do_not_hold_the_value() {
    let (_folder, path) = key_file();
    let vault = Vault::open(&path).unwrap();
    let (a, b) =
        (vault.seal(&place("K"), b"swordfish").unwrap(), vault.seal(&place("K"), b"swordfish").unwrap());
    assert_ne!(a.ciphertext, b.ciphertext);
    assert!(!a.ciphertext.windows(9).any(|window| window == b"swordfish"));
}

#[test]
fn an_older_key_opens_until_it_is_taken_out() {
    let (_folder, path) = key_file();
    let old = Vault::open(&path).unwrap();
    let sealed = old.seal(&place("K"), b"value").unwrap();

    let old_line = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{}\n{old_line}", "ab".repeat(32))).unwrap();
    let both = Vault::open(&path).unwrap();
    assert_ne!(both.sealing_key(), old.sealing_key());
    assert_eq!(both.open_sealed(&place("K"), &sealed).unwrap(), b"value");
    assert_eq!(both.seal(&place("K"), b"").unwrap().key_name, both.sealing_key().to_string());

    std::fs::write(&path, "ab".repeat(32)).unwrap();
    let refused = Vault::open(&path).unwrap().open_sealed(&place("K"), &sealed);
    assert!(matches!(refused, Err(Error::UnknownKey(name)) if name == old.sealing_key()));
}

#[test]
fn a_key_file_that_others_can_read_or_that_holds_no_key_is_refused() {
    let (_folder, path) = key_file();
    Vault::open(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = Vault::open(&path).unwrap_err();
    assert!(refused.to_string().contains("run: chmod 600"), "{refused}");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let key = "ab".repeat(32);
    for text in ["", "# nothing\n", "ab", &"xy".repeat(32), &format!("{key}\n{key}\n{key}")] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Vault::open(&path), Err(Error::Malformed { .. })), "{text:?}");
    }
}

#[test]
fn debug_and_errors_tell_neither_keys_nor_values() {
    let (_folder, path) = key_file();
    let vault = Vault::open(&path).unwrap();
    let key = std::fs::read_to_string(&path).unwrap();
    let key = key.lines().last().unwrap();
    let shown = format!("{vault:?} {:?}", vault.seal(&place("K"), b"swordfish").unwrap());
    assert!(!shown.contains(key) && !shown.contains("swordfish"), "{shown}");
    assert!(shown.starts_with(&format!("[{}]", vault.sealing_key())), "{shown}");
}
