//! Environment values and secrets, sealed before they reach a row (SEMANTICS section 7): XChaCha20-Poly1305 under a
//! key that lives in a file beside the database and never in it.
//!
//! What is sealed opens only in the place it was sealed for: account, execution and name are authenticated with it,
//! so a row copied elsewhere opens nowhere.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rgrid_core::id::{AccountId, ExecutionId};
use sha2::{Digest, Sha256};

use crate::guards;
use crate::secret::random;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Bytes of a key's hash that name it.
const KEY_ID_BYTES: usize = 8;
/// Keys that may be active: the one that seals, and the one before it while rows are sealed anew.
const KEYS_MAX: usize = 2;
/// A key file is not larger than this: two lines of digits, and room for comments.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// Why the vault refuses.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file cannot be read or made.
    #[error("the key file {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// Others than its owner may read the key file.
    #[error("the key file {} can be read by others than its owner (mode {mode:o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file does not hold one or two keys.
    #[error("the key file {} must hold one or two lines of 64 hexadecimal digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A value was sealed under a key that is no longer in the key file.
    #[error("a value was sealed under key {0}, which is not in the key file")]
    UnknownKey(KeyName),
    /// A value was changed, or belongs to another account, execution or name.
    #[error("a sealed value is damaged or stands in the wrong place")]
    Damaged,
}

/// Names a key without telling it: the start of its hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyName([u8; KEY_ID_BYTES]);

impl KeyName {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let hash = Sha256::new().chain_update(b"rgrid vault key name\0").chain_update(key).finalize();
        let mut name = [0; KEY_ID_BYTES];
        name.copy_from_slice(&hash[..KEY_ID_BYTES]);
        Self(name)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The one place in which a sealed value opens.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose it is.
    pub account: AccountId,
    /// The execution that sees it.
    pub execution: ExecutionId,
    /// The variable's name.
    pub name: &'a str,
}

impl Place<'_> {
    /// Each part with its length before it, so that no two places spell the same bytes.
    fn associated(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !guards::holds(&guards::SEALED_IN_ITS_PLACE) {
            return bytes;
        }
        for part in [self.account.to_string(), self.execution.to_string(), self.name.to_owned()] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }
}

/// A sealed value, as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Names the key; a column of its own, so that rows under an old key can be found.
    pub key_name: String,
    /// Nonce, then ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

struct Key {
    name: KeyName,
    cipher: XChaCha20Poly1305,
    /// Secret as the key itself; other keys are derived from it, so that none of them tells the key.
    root: [u8; KEY_BYTES],
}

/// Seals and opens. `Debug` shows the names of its keys and nothing else.
pub struct Vault {
    /// The first seals; all open.
    keys: Vec<Key>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.name)).finish()
    }
}

impl Vault {
    /// The vault of the keys in `path`. A file that is not there is made, with one fresh key and mode 0600.
    ///
    /// The file holds a key a line, as 64 hexadecimal digits; `#` starts a comment. The first key seals. To change
    /// it, put a new line before it, and remove the old line once no row names it any more.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let at = |source| Error::File { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_key_file(path, &random::<KEY_BYTES>()).map_err(at)?;
                File::open(path).map_err(at)?
            }
            Err(error) => return Err(at(error)),
        };
        let mode = file.metadata().map_err(at)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Error::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(at)?;
        Self::parse(&text).ok_or_else(|| Error::Malformed { path: path.to_owned() })
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let keys: Vec<Key> = lines.filter(|line| !line.is_empty()).map(parse_key).collect::<Option<_>>()?;
        (1..=KEYS_MAX).contains(&keys.len()).then_some(Self { keys })
    }

    /// Names the key that seals: rows under another name may be sealed anew.
    pub fn sealing_key(&self) -> KeyName {
        self.keys[0].name
    }

    /// Keys for another purpose than sealing, one of each key in the file: all processes with the same file derive
    /// the same. The first belongs to the key that seals.
    pub fn derived_keys(&self, purpose: &str) -> Vec<[u8; KEY_BYTES]> {
        // The root has a fixed length, so root and purpose cannot run into each other.
        let derive = |key: &Key| Sha256::new().chain_update(key.root).chain_update(purpose).finalize().into();
        self.keys.iter().map(derive).collect()
    }

    /// Seals `value` for `place`.
    pub fn seal(&self, place: &Place<'_>, value: &[u8]) -> Result<Sealed, Error> {
        let key = &self.keys[0];
        let nonce = random::<NONCE_BYTES>();
        let payload = Payload { msg: value, aad: &place.associated() };
        // Encryption fails only above 256 GiB.
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Damaged)?;
        let ciphertext = [nonce.as_slice(), sealed.as_slice()].concat();
        Ok(Sealed { key_name: key.name.to_string(), ciphertext })
    }

    /// Opens what was sealed for `place`.
    pub fn open_sealed(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Vec<u8>, Error> {
        let Some(key) = self.keys.iter().find(|key| key.name.to_string() == sealed.key_name) else {
            let name = parse_hex::<KEY_ID_BYTES>(&sealed.key_name).ok_or(Error::Damaged)?;
            return Err(Error::UnknownKey(KeyName(name)));
        };
        let (nonce, ciphertext) =
            sealed.ciphertext.split_first_chunk::<NONCE_BYTES>().ok_or(Error::Damaged)?;
        let payload = Payload { msg: ciphertext, aad: &place.associated() };
        key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Error::Damaged)
    }
}

fn parse_key(line: &str) -> Option<Key> {
    let key = parse_hex::<KEY_BYTES>(line)?;
    let root = Sha256::new().chain_update(b"rgrid vault root\0").chain_update(key).finalize().into();
    Some(Key { name: KeyName::of(&key), cipher: XChaCha20Poly1305::new(&key.into()), root })
}

/// Makes the file whole or not at all: two processes that start at once agree on the key of the first.
fn make_key_file(path: &Path, key: &[u8; KEY_BYTES]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let draft = path.with_extension(format!("new-{}", hex(&random::<8>())));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = writeln!(
        file,
        "# Seals the values of environment variables. Keep it, and keep it apart from backups."
    )
    .and_then(|()| writeln!(file, "{}", hex(key)))
    .and_then(|()| file.sync_all())
    .and_then(|()| match std::fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    std::fs::remove_file(&draft)?;
    written?;
    File::open(folder)?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}
