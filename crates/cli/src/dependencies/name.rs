//! Names of distributions, requirements as PEP 508 writes them, and the distributions behind well-known modules.

/// A distribution's name as the index compares it (PEP 503).
pub(super) fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.trim().chars() {
        if matches!(c, '-' | '_' | '.') {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// One requirement: `name[extra] >= 1 ; marker`, or `name @ url ; marker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    /// Normalised.
    pub name: String,
    /// Normalised.
    pub extras: Vec<String>,
    /// What stands between the name and the marker: versions, or `@ url`.
    pub versions: String,
    pub marker: Option<String>,
}

impl Requirement {
    /// `None` when it does not begin with a name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return None;
        }
        let rest = rest.trim_start();
        let (extras, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((extras, rest)) => {
                (extras.split(',').map(normalized).filter(|e| !e.is_empty()).collect(), rest)
            }
            None => (Vec::new(), rest),
        };
        let rest = rest.trim();
        // The `;` of a marker after an address has a space before it: one may stand in the address.
        let sign = if rest.starts_with('@') { " ;" } else { ";" };
        let (versions, marker) = match rest.split_once(sign) {
            Some((versions, marker)) => (versions, Some(marker.trim().to_owned())),
            None => (rest, None),
        };
        let versions = versions.trim();
        let begins_well = versions.is_empty() || versions.starts_with(['=', '<', '>', '!', '~', '(', '@']);
        let versions = versions.trim_start_matches('(').trim_end_matches(')').trim().to_owned();
        begins_well.then(|| Self { name: normalized(name), extras, versions, marker })
    }
}

/// Modules whose distribution has another name; sorted by module.
const DISTRIBUTIONS: &[(&str, &str)] = &[
    ("Bio", "biopython"),
    ("Crypto", "pycryptodome"),
    ("Cryptodome", "pycryptodomex"),
    ("Levenshtein", "levenshtein"),
    ("MySQLdb", "mysqlclient"),
    ("OpenSSL", "pyopenssl"),
    ("PIL", "pillow"),
    ("attr", "attrs"),
    ("bs4", "beautifulsoup4"),
    ("cairo", "pycairo"),
    ("community", "python-louvain"),
    ("cv2", "opencv-python-headless"),
    ("dateutil", "python-dateutil"),
    ("discord", "discord-py"),
    ("docx", "python-docx"),
    ("dotenv", "python-dotenv"),
    ("faiss", "faiss-cpu"),
    ("fitz", "pymupdf"),
    ("git", "gitpython"),
    ("github", "pygithub"),
    ("googleapiclient", "google-api-python-client"),
    ("igraph", "python-igraph"),
    ("jose", "python-jose"),
    ("jwt", "pyjwt"),
    ("kafka", "kafka-python"),
    ("ldap", "python-ldap"),
    ("magic", "python-magic"),
    ("mpl_toolkits", "matplotlib"),
    ("multipart", "python-multipart"),
    ("nacl", "pynacl"),
    ("osgeo", "gdal"),
    ("paho", "paho-mqtt"),
    ("pkg_resources", "setuptools"),
    ("pptx", "python-pptx"),
    ("psycopg2", "psycopg2-binary"),
    ("pylab", "matplotlib"),
    ("rest_framework", "djangorestframework"),
    ("rpds", "rpds-py"),
    ("ruamel", "ruamel-yaml"),
    ("serial", "pyserial"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("slugify", "python-slugify"),
    ("snappy", "python-snappy"),
    ("socks", "pysocks"),
    ("telegram", "python-telegram-bot"),
    ("umap", "umap-learn"),
    ("usb", "pyusb"),
    ("win32api", "pywin32"),
    ("yaml", "pyyaml"),
    ("zmq", "pyzmq"),
];

/// The distribution that most likely has a module of this name.
pub(super) fn likely_distribution(module: &str) -> String {
    match DISTRIBUTIONS.binary_search_by(|(known, _)| (*known).cmp(module)) {
        Ok(place) => DISTRIBUTIONS[place].1.to_owned(),
        Err(_) => normalized(module),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_the_index_compares_them() {
        for name in ["Ruamel.Yaml", "ruamel_yaml", "ruamel--yaml", " RUAMEL-yaml "] {
            assert_eq!(normalized(name), "ruamel-yaml", "{name}");
        }
    }

    #[test]
    fn a_requirement_is_taken_apart() {
        let check = |text: &str| {
            let Some(Requirement { name, extras, versions, marker }) = Requirement::parse(text) else {
                return "nothing".to_owned();
            };
            format!("{name} {extras:?} {versions:?} {}", marker.unwrap_or_default())
        };
        insta::assert_snapshot!(check("Pandas[excel, SQL_other]>=2,<3 ; python_version < '3.13'"), @r#"pandas ["excel", "sql-other"] ">=2,<3" python_version < '3.13'"#);
        insta::assert_snapshot!(check("six"), @r#"six [] "" "#);
        insta::assert_snapshot!(check("zope.interface (>=4)"), @r#"zope-interface [] ">=4" "#);
        insta::assert_snapshot!(check("x @ https://h/x.whl?a=1;b=2 ; sys_platform == 'linux'"), @r#"x [] "@ https://h/x.whl?a=1;b=2" sys_platform == 'linux'"#);
        insta::assert_snapshot!(check("./lib"), @"nothing");
        insta::assert_snapshot!(check("git+https://h/x"), @"nothing");
    }

    #[test]
    fn well_known_modules_lead_to_their_distributions() {
        assert!(DISTRIBUTIONS.is_sorted_by_key(|(module, _)| *module));
        let named: Vec<_> =
            ["cv2", "yaml", "PIL", "sklearn", "google_auth"].into_iter().map(likely_distribution).collect();
        assert_eq!(named, ["opencv-python-headless", "pyyaml", "pillow", "scikit-learn", "google-auth"]);
    }
}
