//! What a script needs of the environment that it would run in here, when nobody declares its packages: the distributions
//! that it imports, in the versions that are installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::installed::{DirectOrigin, Distribution, Installed};
use super::local;
use super::name::{Requirement, likely_distribution, normalized};

/// Extras that serve those who work on a distribution, and not those who use it.
const EXTRAS_OF_DEVELOPERS: [&str; 12] = [
    "dev",
    "develop",
    "development",
    "doc",
    "docs",
    "lint",
    "test",
    "testing",
    "tests",
    "typing",
    "benchmark",
    "ci",
];
/// Distributions of every environment that no script means.
const TOOLS: [&str; 5] = ["pip", "uv", "wheel", "rgrid", "virtualenv"];

/// What the environment gives to a script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Requirements, a line each, sorted.
    pub wanted: Vec<String>,
    /// All else that is installed.
    pub constraints: Vec<String>,
    /// Folders of packages that are installed as they lie on this machine, with everything that these need.
    pub editable: BTreeSet<PathBuf>,
    /// Modules and packages that are on the module path and belong to no distribution.
    pub loose: BTreeSet<PathBuf>,
}

/// Chooses for these modules.
pub(super) fn choose(modules: &[String], installed: &Installed) -> Chosen {
    let by_name: BTreeMap<&str, &Distribution> =
        installed.distributions.iter().map(|found| (found.name.as_str(), found)).collect();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let mut chosen = Chosen::default();
    for module in modules {
        let providers: Vec<&Distribution> =
            installed.distributions.iter().filter(|found| provides(found, module)).collect();
        if providers.is_empty() {
            chosen.loose.extend(installed.paths.iter().flat_map(|folder| local::modules(folder, module)));
        }
        taken.extend(providers.iter().map(|found| found.name.as_str()));
    }
    let imported: Vec<&str> = taken.iter().copied().collect();
    taken.extend(
        imported
            .iter()
            .flat_map(|name| named_in_extras(by_name[name]))
            .filter_map(|name| by_name.get(name.as_str()).map(|found| found.name.as_str())),
    );
    // Local packages go with those that need them: no index has them.
    let mut waiting: Vec<&str> = taken.iter().copied().collect();
    let mut seen: BTreeSet<&str> = taken.clone();
    while let Some(name) = waiting.pop() {
        let needs = by_name[name].requires.iter().filter_map(|text| Requirement::parse(text));
        for need in needs {
            let Some(found) = by_name.get(need.name.as_str()) else { continue };
            if seen.insert(&found.name) {
                waiting.push(&found.name);
                if found.origin.is_some() {
                    taken.insert(&found.name);
                }
            }
        }
    }
    for found in &installed.distributions {
        let is_taken = taken.contains(found.name.as_str());
        if is_taken && let Some(DirectOrigin::Local { path, editable: true }) = &found.origin {
            chosen.editable.insert(path.clone());
        }
        match line(found) {
            line if is_taken => chosen.wanted.push(line),
            line if found.origin.is_none() && !TOOLS.contains(&found.name.as_str()) => {
                chosen.constraints.push(line)
            }
            _ => {}
        }
    }
    chosen.wanted.sort();
    chosen.constraints.sort();
    chosen
}

fn provides(found: &Distribution, module: &str) -> bool {
    if found.modules.contains(module) {
        return true;
    }
    match &found.origin {
        // An editable one lists its finder, and not its modules.
        Some(DirectOrigin::Local { path, editable: true }) => {
            found.name == normalized(module) || has_module(path, module)
        }
        Some(_) | None => false,
    }
}

fn has_module(folder: &Path, module: &str) -> bool {
    [folder.to_owned(), folder.join("src")].iter().any(|folder| !local::modules(folder, module).is_empty())
}

/// Distributions that it would use if they are there.
fn named_in_extras(found: &Distribution) -> Vec<String> {
    let of_extra = |text: &String| {
        let parsed = Requirement::parse(text)?;
        let marker = parsed.marker.as_deref()?;
        let after = marker.split_once("extra")?.1.trim_start().trim_start_matches('=').trim_start();
        let extra = after.trim_start_matches(['\'', '"']).split(['\'', '"']).next()?;
        (!EXTRAS_OF_DEVELOPERS.contains(&normalized(extra).as_str())).then_some(parsed.name)
    };
    found.requires.iter().filter_map(of_extra).collect()
}

/// The distribution as a requirement.
fn line(found: &Distribution) -> String {
    // What stands behind the plus was built for this machine; no index has it.
    let version = found.version.split('+').next().unwrap_or(&found.version);
    let pinned = || format!("{}=={version}", found.name);
    match &found.origin {
        None => pinned(),
        Some(DirectOrigin::Url(url)) => format!("{} @ {url}", found.name),
        Some(DirectOrigin::Local { path, editable: true }) if path.is_dir() => {
            format!("-e {}", path.display())
        }
        Some(DirectOrigin::Local { path, .. }) if path.exists() => {
            format!("{} @ file://{}", found.name, path.display())
        }
        Some(DirectOrigin::Local { .. }) => pinned(),
    }
}

/// What an index most likely has for these modules, when there is no environment to ask.
pub(super) fn guess(modules: &[String]) -> Vec<String> {
    let names: BTreeSet<String> = modules.iter().map(|module| likely_distribution(module)).collect();
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distribution(name: &str, version: &str, modules: &[&str], requires: &[&str]) -> Distribution {
        Distribution {
            name: name.to_owned(),
            version: version.to_owned(),
            modules: modules.iter().map(|&module| module.to_owned()).collect(),
            requires: requires.iter().map(|&text| text.to_owned()).collect(),
            origin: None,
        }
    }

    fn check(modules: &[&str], distributions: Vec<Distribution>) -> String {
        let modules: Vec<_> = modules.iter().map(|&module| module.to_owned()).collect();
        let chosen = choose(&modules, &Installed { distributions, paths: Vec::new() });
        format!("{}\nlimits: {}", chosen.wanted.join("\n"), chosen.constraints.join(" "))
    }

    fn environment() -> Vec<Distribution> {
        let pandas = [
            "numpy>=1.26",
            "openpyxl>=3.1; extra == \"excel\"",
            "pytest; extra == 'test'",
            "lxml; extra == 'html'",
        ];
        vec![
            distribution("numpy", "1.26.4", &["numpy"], &[]),
            distribution("openpyxl", "3.1.5", &["openpyxl"], &["et-xmlfile"]),
            distribution("et-xmlfile", "2", &["et_xmlfile"], &[]),
            distribution("pandas", "2.2.0", &["pandas"], &pandas),
            distribution("pip", "24", &["pip"], &[]),
            distribution("pytest", "8", &["pytest"], &[]),
            distribution("pyyaml", "6", &["yaml", "_yaml"], &[]),
            distribution("torch", "2.1.0+cpu", &["torch"], &[]),
        ]
    }

    #[test]
    fn what_is_imported_is_pinned_and_all_else_limits() {
        insta::assert_snapshot!(check(&["pandas", "nowhere"], environment()), @r"
        openpyxl==3.1.5
        pandas==2.2.0
        limits: et-xmlfile==2 numpy==1.26.4 pytest==8 pyyaml==6 torch==2.1.0
        ");
        insta::assert_snapshot!(check(&["torch", "yaml"], environment()), @r"
        pyyaml==6
        torch==2.1.0
        limits: et-xmlfile==2 numpy==1.26.4 openpyxl==3.1.5 pandas==2.2.0 pytest==8
        ");
    }

    #[test]
    fn local_packages_go_with_those_that_need_them() {
        let top = tempfile::tempdir().unwrap();
        let (app, lib) = (top.path().join("app"), top.path().join("lib"));
        std::fs::create_dir_all(app.join("src/application")).unwrap();
        std::fs::create_dir_all(&lib).unwrap();
        std::fs::write(app.join("src/application/__init__.py"), "").unwrap();
        let local = |path: &Path| Some(DirectOrigin::Local { path: path.to_owned(), editable: true });
        let app =
            Distribution { origin: local(&app), ..distribution("my-app", "1", &[], &["my-lib", "six"]) };
        let lib = Distribution { origin: local(&lib), ..distribution("my-lib", "1", &[], &[]) };
        let text = check(&["application"], vec![app, lib, distribution("six", "1.16", &["six"], &[])]);
        insta::assert_snapshot!(text.replace(top.path().to_str().unwrap(), ""), @r"
        -e /app
        -e /lib
        limits: six==1.16
        ");
    }

    #[test]
    fn without_an_environment_the_name_is_a_guess() {
        let modules = ["yaml", "requests", "cv2"].map(str::to_owned);
        assert_eq!(guess(&modules), ["opencv-python-headless", "pyyaml", "requests"]);
    }
}
