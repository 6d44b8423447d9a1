//! Addresses that need no key: a blob's bytes may be put or fetched by whoever holds the URL, until it expires.
//!
//! All replicas sign with one key, which the store derives from the grid's secret. What is signed is exactly what the
//! address allows: method, account or upload, part, hash and expiry; changing any of them is a 403.

use hmac::{Hmac, KeyInit, Mac};
use rgrid_api::BASE;
use rgrid_api::error::ErrorCode;
use rgrid_core::Timestamp;
use rgrid_core::id::{AccountId, UploadId};
use rgrid_core::submission::Sha256;
use rgrid_store::objects::SIGNED_ADDRESS_LIFE;

use crate::error::Refused;
use crate::guards;

/// What an address allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Put one part of an upload.
    Put { sha256: Sha256, upload: UploadId, part: u32 },
    /// Fetch a blob of an account.
    Get { sha256: Sha256, account: AccountId },
}

/// Signs and checks addresses.
pub(crate) struct Signer {
    /// The first signs; all check, so that addresses outlive a change of the grid's secret.
    keys: Vec<Hmac<sha2::Sha256>>,
}

impl Signer {
    /// `secrets` is not empty; the first signs.
    pub(crate) fn new(secrets: &[[u8; 32]]) -> Self {
        let key = |secret| Hmac::new_from_slice(secret).expect("an HMAC takes a key of any length");
        Self { keys: secrets.iter().map(|secret| key(secret.as_slice())).collect() }
    }

    /// The address, as a path on the API, that allows `grant` until [`SIGNED_ADDRESS_LIFE`] from `now`.
    pub(crate) fn url(&self, grant: Grant, now: Timestamp) -> String {
        let expires = (now + SIGNED_ADDRESS_LIFE).timestamp();
        let signature = hex(&mac(&self.keys[0], grant, expires).finalize().into_bytes());
        match grant {
            Grant::Put { sha256, upload, part } => format!(
                "{BASE}/blobs/{sha256}?upload={upload}&part={part}&expires={expires}&signature={signature}"
            ),
            Grant::Get { sha256, account } => {
                format!("{BASE}/blobs/{sha256}?account={account}&expires={expires}&signature={signature}")
            }
        }
    }

    /// Refuses unless `signature` allows `grant` and has not expired. The comparison takes the same time whatever
    /// differs.
    pub(crate) fn check(
        &self,
        grant: Grant,
        expires: i64,
        signature: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let refused = |message: &str| {
            Refused::new(ErrorCode::Forbidden, message)
                .hint("ask the API for a new address and use it unchanged")
        };
        let bytes = unhex(signature).ok_or_else(|| refused("the signature of this address is not one"))?;
        let signed = self.keys.iter().any(|key| mac(key, grant, expires).verify_slice(&bytes).is_ok());
        if !signed && guards::holds(&guards::SIGNED_ADDRESS) {
            return Err(refused("the signature of this address does not fit it"));
        }
        if expires < now.timestamp() { Err(refused("this address has expired")) } else { Ok(()) }
    }
}

fn mac(key: &Hmac<sha2::Sha256>, grant: Grant, expires: i64) -> Hmac<sha2::Sha256> {
    let text = match grant {
        Grant::Put { sha256, upload, part } => format!("PUT\n{sha256}\n{upload}\n{part}\n{expires}"),
        Grant::Get { sha256, account } => format!("GET\n{sha256}\n{account}\n{expires}"),
    };
    let mut mac = key.clone();
    mac.update(text.as_bytes());
    mac
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // `from_str_radix` would also take a sign.
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(seconds, 0).unwrap()
    }

    fn signature_and_expiry(url: &str) -> (String, i64) {
        let field = |name: &str| {
            let (_, query) = url.split_once('?').unwrap();
            query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap().to_owned()
        };
        (field("signature="), field("expires=").parse().unwrap())
    }

    #[test]
    fn only_the_very_grant_that_was_signed_passes_and_only_until_it_expires() {
        let signer = Signer::new(&[[7; 32]]);
        let sha256 = Sha256([1; 32]);
        let put = |part| Grant::Put { sha256, upload: UploadId::new(0, [1; 10]), part };
        let (signature, expires) = signature_and_expiry(&signer.url(put(1), at(1000)));

        assert!(signer.check(put(1), expires, &signature, at(1000)).is_ok());
        assert!(signer.check(put(1), expires, &signature, at(expires)).is_ok());
        assert!(signer.check(put(1), expires, &signature, at(expires + 1)).is_err());
        assert!(signer.check(put(1), expires + 1, &signature, at(1000)).is_err());
        assert!(signer.check(put(2), expires, &signature, at(1000)).is_err());
        let get = Grant::Get { sha256, account: AccountId::new(0, [1; 10]) };
        assert!(signer.check(get, expires, &signature, at(1000)).is_err());
        for bad in ["", "0", "zz", "+1", "é", &signature[2..]] {
            assert!(signer.check(put(1), expires, bad, at(1000)).is_err(), "{bad}");
        }
        assert!(Signer::new(&[[8; 32]]).check(put(1), expires, &signature, at(1000)).is_err());
        assert!(Signer::new(&[[8; 32], [7; 32]]).check(put(1), expires, &signature, at(1000)).is_ok());
    }
}
