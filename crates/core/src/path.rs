//! Absolute paths as they travel: the place of a file on the user's machine, which is also its place in the sandbox.
//! Purely textual; whether anything is there is not known here.

use std::fmt;
use std::str::FromStr;

/// The longest path we carry, as Linux has it (PATH_MAX without its NUL).
pub const PATH_BYTES_MAX: usize = 4095;
/// The longest single name, as Linux has it (NAME_MAX).
pub const NAME_BYTES_MAX: usize = 255;

/// An absolute, normal path: it starts with `/`, and holds no empty, `.` or `..` part and no NUL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsolutePath(String);

/// Why a text is not such a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not start with `/`.
    #[error("path {0:?} is not absolute")]
    NotAbsolute(String),
    /// It holds an empty, `.` or `..` part.
    #[error("path {0:?} has an empty, `.` or `..` part")]
    NotNormal(String),
    /// It holds a NUL byte.
    #[error("a path holds a NUL byte")]
    Nul,
    /// It, or one of its names, is longer than a file system takes.
    #[error("a path or a name in it is too long ({PATH_BYTES_MAX} and {NAME_BYTES_MAX} bytes at most)")]
    TooLong,
}

impl AbsolutePath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        other.0 == "/"
            || self.0 == other.0
            || self.0.strip_prefix(&other.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The folder that holds this; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        match self.0.rfind('/') {
            Some(0) if self.0.len() == 1 => None,
            Some(0) => Some(Self("/".to_owned())),
            Some(cut) => Some(Self(self.0[..cut].to_owned())),
            None => None,
        }
    }

    /// The last name; empty for `/`.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }
}

impl FromStr for AbsolutePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.contains('\0') {
            return Err(PathError::Nul);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathError::NotAbsolute(text.to_owned()));
        };
        for name in rest.split('/').filter(|_| !rest.is_empty()) {
            if matches!(name, "" | "." | "..") {
                return Err(PathError::NotNormal(text.to_owned()));
            }
            if name.len() > NAME_BYTES_MAX {
                return Err(PathError::TooLong);
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_normal_paths_pass() {
        for good in ["/", "/a", "/a/b c", "/é"] {
            assert!(good.parse::<AbsolutePath>().is_ok(), "{good}");
        }
        for bad in ["", "a", "/a/", "//", "/a//b", "/a/../b", "/./a", "/a\0"] {
            assert!(bad.parse::<AbsolutePath>().is_err(), "{bad:?}");
        }
        assert_eq!(format!("/{}", "x".repeat(256)).parse::<AbsolutePath>(), Err(PathError::TooLong));
    }

    #[test]
    fn within_means_whole_names() {
        let path = |text: &str| text.parse::<AbsolutePath>().unwrap();
        assert!(path("/a/b").is_within(&path("/a")) && path("/a").is_within(&path("/")));
        assert!(!path("/ab").is_within(&path("/a")));
        assert_eq!(path("/a").parent(), Some(path("/")));
        assert_eq!(path("/").parent(), None);
    }
}
