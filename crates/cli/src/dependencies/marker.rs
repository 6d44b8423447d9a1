//! Environment markers (PEP 508), answered for the machine that will run the script.

use std::cmp::Ordering;

/// The machine that packages are locked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Platform {
    /// Of Python 3.`python_minor`.
    pub python_minor: u8,
    /// As `sys.platform` has it.
    pub system: &'static str,
    /// As `platform.machine()` has it.
    pub machine: &'static str,
    /// True for this very machine: the resolver then looks at it by itself.
    pub own: bool,
}

impl Platform {
    /// Workers elsewhere are Linux machines of this architecture.
    pub(super) fn of_workers(python_minor: u8) -> Self {
        Self { python_minor, system: "linux", machine: "x86_64", own: false }
    }

    /// This machine.
    pub(super) fn of_this_machine(python_minor: u8) -> Self {
        let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
        let machine = match std::env::consts::ARCH {
            "aarch64" if system == "darwin" => "arm64",
            architecture => architecture,
        };
        Self { python_minor, system, machine, own: true }
    }

    /// As the resolver names it; `None` when it is to look at this machine.
    pub(super) fn target(&self) -> Option<&'static str> {
        (!self.own).then_some("x86_64-manylinux_2_28")
    }

    fn value(&self, name: &str) -> Option<String> {
        Some(match name {
            "python_version" => format!("3.{}", self.python_minor),
            // Which release a worker has is not known here; markers tell minor versions apart.
            "python_full_version" | "implementation_version" => format!("3.{}.99", self.python_minor),
            "os_name" => "posix".to_owned(),
            "sys_platform" => self.system.to_owned(),
            "platform_system" => if self.system == "darwin" { "Darwin" } else { "Linux" }.to_owned(),
            "platform_machine" => self.machine.to_owned(),
            "platform_python_implementation" => "CPython".to_owned(),
            "implementation_name" => "cpython".to_owned(),
            _ => return None,
        })
    }
}

/// Whether the marker holds there, with these extras asked for. `None` when it cannot be told.
pub(super) fn holds(marker: &str, platform: &Platform, extras: &[String]) -> Option<bool> {
    let tokens = tokens(marker)?;
    let mut reader = Reader { tokens: &tokens, platform, extras };
    let holds = reader.any()?;
    reader.tokens.is_empty().then_some(holds)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(String),
    Open,
    Close,
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '\'' | '"' => {
                let end = rest[1..].find(first)?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '=' | '<' | '>' | '!' | '~' => {
                let length = rest.find(|c| !matches!(c, '=' | '<' | '>' | '!' | '~')).unwrap_or(rest.len());
                (Token::Sign(rest[..length].to_owned()), length)
            }
            c if c.is_ascii_alphabetic() || c == '_' => {
                let end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
                let length = rest.find(end).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
            _ => return None,
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// Reads a marker by its grammar. Parts that do not decide the whole may be untellable.
struct Reader<'a> {
    tokens: &'a [Token],
    platform: &'a Platform,
    extras: &'a [String],
}

enum Side {
    Variable(String),
    Literal(String),
}

impl Reader<'_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn takes_word(&mut self, word: &str) -> bool {
        match self.tokens.split_first() {
            Some((Token::Word(found), rest)) if found == word => {
                self.tokens = rest;
                true
            }
            Some(_) | None => false,
        }
    }

    fn any(&mut self) -> Option<bool> {
        let mut holds = self.all()?;
        while self.takes_word("or") {
            holds |= self.all()?;
        }
        Some(holds)
    }

    fn all(&mut self) -> Option<bool> {
        let mut holds = self.one()?;
        while self.takes_word("and") {
            holds &= self.one()?;
        }
        Some(holds)
    }

    fn one(&mut self) -> Option<bool> {
        if self.tokens.first() == Some(&Token::Open) {
            self.next();
            let holds = self.any()?;
            return (self.next() == Some(&Token::Close)).then_some(holds);
        }
        let left = self.side()?;
        let sign = match self.next()?.clone() {
            Token::Sign(sign) => sign,
            Token::Word(word) if word == "in" => word,
            Token::Word(word) if word == "not" && self.takes_word("in") => "not in".to_owned(),
            Token::Word(_) | Token::Text(_) | Token::Open | Token::Close => return None,
        };
        let right = self.side()?;
        self.compare(&left, &sign, &right)
    }

    fn side(&mut self) -> Option<Side> {
        match self.next()? {
            Token::Word(word) => Some(Side::Variable(word.clone())),
            Token::Text(text) => Some(Side::Literal(text.clone())),
            Token::Sign(_) | Token::Open | Token::Close => None,
        }
    }

    fn compare(&self, left: &Side, sign: &str, right: &Side) -> Option<bool> {
        match (left, right) {
            (Side::Variable(name), Side::Literal(extra)) | (Side::Literal(extra), Side::Variable(name))
                if matches!(name.as_str(), "extra" | "extras") =>
            {
                let has = self.extras.contains(&super::name::normalized(extra));
                Some(has != matches!(sign, "!=" | "not in"))
            }
            // The groups of a lock (PEP 751): what belongs to none is what is asked for.
            (Side::Literal(_), Side::Variable(name)) if name == "dependency_groups" => Some(sign == "not in"),
            (Side::Variable(name), Side::Literal(literal)) => {
                let value = self.platform.value(name)?;
                Some(match is_version(name) {
                    true => version_holds(&value, sign, literal)?,
                    false => text_holds(&value, sign, literal)?,
                })
            }
            (Side::Literal(literal), Side::Variable(name)) => {
                let value = self.platform.value(name)?;
                Some(match is_version(name) {
                    true => version_holds(&value, turned(sign), literal)?,
                    false => text_holds(literal, sign, &value)?,
                })
            }
            (Side::Variable(_), Side::Variable(_)) | (Side::Literal(_), Side::Literal(_)) => None,
        }
    }
}

fn is_version(variable: &str) -> bool {
    matches!(variable, "python_version" | "python_full_version" | "implementation_version")
}

/// The comparison as seen from the other side.
fn turned(sign: &str) -> &str {
    match sign {
        "<" => ">",
        ">" => "<",
        "<=" => ">=",
        ">=" => "<=",
        other => other,
    }
}

fn text_holds(value: &str, sign: &str, literal: &str) -> Option<bool> {
    Some(match sign {
        "==" | "===" => value == literal,
        "!=" => value != literal,
        "in" => literal.contains(value),
        "not in" => !literal.contains(value),
        "<" => value < literal,
        ">" => value > literal,
        "<=" => value <= literal,
        ">=" => value >= literal,
        _ => return None,
    })
}

fn version_holds(value: &str, sign: &str, literal: &str) -> Option<bool> {
    if matches!(sign, "in" | "not in") {
        let among = literal.split([',', ' ', '|']).any(|version| version.trim() == value);
        return Some(among == (sign == "in"));
    }
    let (literal, any_after) = match literal.strip_suffix(".*") {
        Some(start) => (start, true),
        None => (literal, false),
    };
    let (value, literal) = (numbers(value)?, numbers(literal)?);
    let order = compare(&value, &literal);
    let begins = |length: usize| value.iter().zip(&literal[..length]).all(|(a, b)| a == b);
    let equal = if any_after { begins(literal.len()) } else { order == Ordering::Equal };
    Some(match sign {
        "==" | "===" => equal,
        "!=" => !equal,
        "<" => order == Ordering::Less,
        ">" => order == Ordering::Greater,
        "<=" => order != Ordering::Greater,
        ">=" => order != Ordering::Less,
        "~=" => order != Ordering::Less && begins(literal.len().saturating_sub(1)),
        _ => return None,
    })
}

fn numbers(version: &str) -> Option<Vec<u32>> {
    let number = |part: &str| {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        part[..digits].parse().ok()
    };
    version.trim().split('.').map(number).collect()
}

fn compare(a: &[u32], b: &[u32]) -> Ordering {
    let length = a.len().max(b.len());
    let padded = |numbers: &[u32]| {
        numbers.iter().copied().chain(std::iter::repeat(0)).take(length).collect::<Vec<_>>()
    };
    padded(a).cmp(&padded(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(marker: &str, expected: Option<bool>) {
        let extras = ["excel".to_owned()];
        assert_eq!(holds(marker, &Platform::of_workers(12), &extras), expected, "{marker}");
    }

    #[test]
    fn markers_are_answered_for_the_worker() {
        check("python_version < '3.13'", Some(true));
        check("python_version > '3.12'", Some(false));
        check("python_version >= \"3.9\" and sys_platform == \"linux\"", Some(true));
        check("python_full_version < '3.12'", Some(false));
        check("python_full_version >= '3.12.4'", Some(true));
        check("python_version == '3.*'", Some(true));
        check("python_version ~= '3.10'", Some(true));
        check("python_version in '3.11, 3.12'", Some(true));
        check("'3.11' <= python_version", Some(true));
        check("sys_platform == 'win32' or (os_name == 'posix' and platform_machine != 'arm64')", Some(true));
        check("platform_system == 'Darwin'", Some(false));
        check("platform_python_implementation != 'PyPy'", Some(true));
        check("'linux' in sys_platform", Some(true));
        check("sys_platform not in 'win32 cygwin'", Some(true));
        check("extra == 'Excel'", Some(true));
        check("extra == 'sql'", Some(false));
        check("'dev' in dependency_groups", Some(false));
    }

    #[test]
    fn what_cannot_be_told_is_left_open() {
        for marker in ["platform_release >= '5'", "python_version <> '3'", "and", "(python_version < '4'", ""]
        {
            check(marker, None);
        }
    }
}
