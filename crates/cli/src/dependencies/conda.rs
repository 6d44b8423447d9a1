//! `environment.yml` of conda: the names under its `pip:` are packages of the index; the others are conda's, and which
//! package of the index one of them would be is not guessed.

/// What such a file lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CondaFile {
    /// Requirements for the index.
    pub pip: Vec<String>,
    /// Names of conda's packages, but for Python and pip.
    pub conda: Vec<String>,
}

/// Reads the list; of YAML no more than what such files use.
pub(super) fn read(text: &str) -> CondaFile {
    let mut found = CondaFile::default();
    // The column of the items under `dependencies:`, and of those under its `pip:`.
    let (mut in_list, mut pip_column) = (false, None);
    for line in text.lines() {
        let bare = line.split(" #").next().unwrap_or(line);
        let (column, words) = (bare.len() - bare.trim_start().len(), bare.trim());
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        let Some(item) = words.strip_prefix('-').map(|item| item.trim().trim_matches(['"', '\''])) else {
            in_list = column == 0 && words.strip_suffix(':').is_some_and(|key| key.trim() == "dependencies");
            pip_column = None;
            continue;
        };
        if !in_list {
            continue;
        }
        match pip_column {
            Some(pip_column) if column > pip_column => found.pip.push(item.to_owned()),
            Some(_) | None => {
                pip_column =
                    (item.trim_end_matches(':').trim() == "pip" && item.ends_with(':')).then_some(column);
                let name: String = item
                    .chars()
                    .take_while(|c| !matches!(c, '=' | '<' | '>' | '!' | ' ' | '[' | ':'))
                    .collect();
                let name = name.rsplit("::").next().unwrap_or_default().to_owned();
                if !matches!(name.as_str(), "" | "python" | "pip") {
                    found.conda.push(name);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pip_are_told_from_those_of_conda() {
        let file = "name: work\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.12\n  - numpy>=1.26  # fast\n  - pip\n  - pip:\n    - six==1.16\n    - \"requests[socks]>=2\"\n  - gdal\nprefix: /opt/x\n";
        let CondaFile { pip, conda } = read(file);
        assert_eq!(pip, ["six==1.16", "requests[socks]>=2"]);
        assert_eq!(conda, ["numpy", "gdal"]);
        assert_eq!(read("dependencies:\n- six\n- pip:\n  - idna\n").pip, ["idna"]);
    }
}
