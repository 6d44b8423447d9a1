//! pip's settings: where its files lie, and what they say of indexes. The client reads them for uv, which does not, and the
//! binary to fetch the tools of the embedded grid.

use std::path::{Path, PathBuf};

/// A settings file is no longer than this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What pip's files hold, the environment's first, then the user's and the machine's.
#[derive(Debug, Clone, Default)]
pub struct PipSettings {
    texts: Vec<String>,
}

impl PipSettings {
    /// Those of this process's user.
    pub fn look() -> Self {
        Self { texts: files().iter().filter_map(|file| read(file)).collect() }
    }

    /// What the first file that has it says of a setting, for every command or for installing.
    pub fn get(&self, setting: &str) -> Option<String> {
        self.texts.iter().find_map(|text| in_file(text, setting))
    }

    /// What the variable of the setting says, else the files: `index-url` is `PIP_INDEX_URL` too.
    pub fn get_or_variable(&self, setting: &str) -> Option<String> {
        let name = format!("PIP_{}", setting.to_uppercase().replace('-', "_"));
        let said = std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        said.or_else(|| self.get(setting))
    }
}

/// Where pip looks for its settings.
fn files() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = std::env::home_dir();
    let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let user = variable("XDG_CONFIG_HOME")
        .or_else(|| below_home(".config"))
        .map(|folder| folder.join("pip/pip.conf"));
    let environment = variable("VIRTUAL_ENV").map(|folder| folder.join("pip.conf"));
    let files = [
        variable("PIP_CONFIG_FILE"),
        environment,
        user,
        below_home(".pip/pip.conf"),
        Some("/etc/pip.conf".into()),
    ];
    files.into_iter().flatten().collect()
}

fn read(file: &Path) -> Option<String> {
    let is_small = file.metadata().is_ok_and(|found| found.is_file() && found.len() <= FILE_BYTES_MAX);
    if is_small { std::fs::read_to_string(file).ok() } else { None }
}

/// A setting of one file's text.
#[doc(hidden)]
pub fn in_file(text: &str, setting: &str) -> Option<String> {
    let settings = ini::Ini::load_from_str_noescape(text).ok()?;
    ["install", "global"]
        .into_iter()
        .find_map(|section| settings.get_from(Some(section), setting).map(str::to_owned))
        .filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_stands_in_the_section_for_every_command_or_for_installing() {
        let text = "[global]\nindex-url = https://u:p@h/simple\n[install]\nextra-index-url =\n";
        assert_eq!(in_file(text, "index-url").as_deref(), Some("https://u:p@h/simple"));
        assert_eq!(in_file(text, "extra-index-url"), None);
        assert_eq!(in_file("[global]\ntimeout = 5\n", "index-url"), None);
        let both = PipSettings { texts: vec!["[global]\nno = 1\n".to_owned(), text.to_owned()] };
        assert_eq!(both.get("index-url").as_deref(), Some("https://u:p@h/simple"));
    }
}
