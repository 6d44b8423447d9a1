//! Torch for machines without a GPU (DESIGN section 6) in a lock that is there already and has the one for GPUs: which of its
//! packages are exchanged, what goes with them, and what comes of it. All decided here; `resolver` asks uv.

use std::collections::BTreeSet;
use std::path::Path;

use super::pin::{self, Hashes, Origin, Pin, Places};
use super::resolver::Resolved;
use super::search::Resolve;
use super::unsolved::{Failure, failure};
use super::{indexes, marker::Platform};

/// The host of torch for machines without a GPU.
pub(super) const HOST: &str = "download.pytorch.org";
/// uv takes it from there with this.
pub(super) const BACKEND: [&str; 2] = ["--torch-backend", "cpu"];
/// Packages that come built for machines without a GPU, as `+cpu`: of those that uv takes from PyTorch's own index when it is
/// told the backend (its crate `uv-torch`; tried with uv 0.13.9), the ones that this index has with that tag. Without their
/// like they do not load beside such a torch.
const FAMILY: [&str; 7] =
    ["fbgemm-gpu", "torch", "torchao", "torchaudio", "torchcodec", "torchtext", "torchvision"];
/// Names of what torch needs of a GPU begin so,
const GPU_NAMES: [&str; 2] = ["nvidia-", "cuda-"];
/// but for this one, which torch does without and others import wherever they run,
const GPU_READER: &str = "nvidia-ml-py";
/// or are these.
const GPU_PACKAGES: [&str; 2] = ["triton", "pytorch-triton"];

/// The packages of a lock that are to be exchanged, in the versions to ask for: local tags are cut.
pub(super) fn members(pins: &[Pin], platform: &Platform) -> Vec<Pin> {
    // Elsewhere than on Linux torch's wheels are without a GPU anyway.
    if platform.system != "linux" || !pins.iter().any(|pin| FAMILY.contains(&pin.name.as_str())) {
        return Vec::new();
    }
    let member = |pin: Pin| match &pin.origin {
        Origin::Index { version, .. } if FAMILY.contains(&pin.name.as_str()) => {
            let (public, local) = version.split_once('+').unwrap_or((version, ""));
            (!local.starts_with("cpu"))
                .then(|| Pin::version(&pin.name, public, Hashes::new(), pin.marker.clone()))
        }
        Origin::Index { .. } | Origin::Url { .. } | Origin::Local { .. } => None,
    };
    pin::wanted_on(pins.to_vec(), platform).into_iter().filter_map(member).collect()
}

/// What the resolver is given, with torch for whatever machine.
pub(super) fn without_gpu(asked: &Resolve) -> Resolve {
    let lines = |lines: &[String]| lines.iter().map(|line| for_any_machine(line)).collect();
    Resolve { wanted: lines(&asked.wanted), constraints: lines(&asked.constraints), ..asked.clone() }
}

/// A requirement, with the local tag cut from the version of what is exchanged: `torch==2.5.1+cu124` was asked for by a machine
/// with a GPU, and here becomes `torch==2.5.1`. Any other line stays as it is.
fn for_any_machine(line: &str) -> String {
    let (asked, condition) = line.split_at(line.find([';', '#']).unwrap_or(line.len()));
    let name = asked.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).next();
    let name = name.unwrap_or_default().to_ascii_lowercase().replace(['_', '.'], "-");
    match asked.split_once('+') {
        Some((public, local))
            if FAMILY.contains(&name.as_str()) && public.contains("==") && !local.starts_with("cpu") =>
        {
            let rest = local.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
            format!("{public}{rest}{condition}")
        }
        Some(_) | None => line.to_owned(),
    }
}

/// The names of packages, as far as these know them.
pub(super) fn names(pins: &[Pin]) -> BTreeSet<String> {
    pins.iter().map(|pin| pin.name.clone()).collect()
}

/// What uv is asked: these packages, with all others as the lock has them.
pub(super) fn question(lock: &Resolved, members: &[Pin], platform: &Platform, folder: &Path) -> Resolve {
    let line = |pin: &Pin| match &pin.origin {
        Origin::Index { version, .. } => {
            let marker = pin.marker.as_ref().map(|marker| format!(" ; {marker}")).unwrap_or_default();
            Some(format!("{}=={version}{marker}", pin.name))
        }
        Origin::Url { .. } | Origin::Local { .. } => None,
    };
    let exchanged = names(members);
    let others = pin::wanted_on(lock.pins.clone(), platform);
    let others = others.iter().filter(|pin| !exchanged.contains(&pin.name));
    // In the place of the public index is the person's own, which uv knows. Other indexes of PyTorch's have nothing for machines
    // without a GPU.
    let index = lock.places.index.iter().filter(|url| !is_public(url));
    let options = index.map(|url| ("--index-url", url));
    let options = options.chain(lock.places.extra.iter().map(|url| ("--extra-index-url", url)));
    let options = options.filter(|(_, url)| !is_index(url)).map(|(option, url)| format!("{option} {url}"));
    Resolve {
        wanted: members.iter().filter_map(line).collect(),
        constraints: others.filter_map(line).collect(),
        options: options.collect(),
        folder: folder.to_owned(),
        ..Resolve::default()
    }
}

/// The lock with these packages exchanged for what uv found. What they alone needed of a GPU goes: `left` are the names of all
/// that is still there when they are left out of the lock.
pub(super) fn exchanged(
    lock: Resolved,
    members: &[Pin],
    left: &BTreeSet<String>,
    found: Resolved,
    platform: &Platform,
) -> Resolved {
    let Resolved { pins, mut places, warnings } = lock;
    let (gone, asked) = (names(members), names(&found.pins));
    let mut pins = pin::wanted_on(pins, platform);
    // A lock does not tell which extras of torch were asked for: nothing but what is for GPUs is thought needless.
    pins.retain(|pin| {
        let is_needed = left.contains(&pin.name) || asked.contains(&pin.name) || !is_for_gpus(&pin.name);
        !gone.contains(&pin.name) && is_needed
    });
    // What the lock has keeps its hashes: the versions were given.
    let has = names(&pins);
    pins.extend(found.pins.into_iter().filter(|pin| !has.contains(&pin.name)));
    let Places { index, extra, links } = found.places;
    match index {
        // The person's own, or again the public one.
        Some(index) if places.index.as_deref().is_none_or(is_public) => places.index = Some(index),
        Some(index) => places.extra.push(index),
        None => {}
    }
    places.extra.extend(extra);
    places.links.extend(links);
    let mut seen: BTreeSet<String> = places.index.iter().cloned().collect();
    places.extra.retain(|url| seen.insert(url.clone()));
    places.links.retain(|link| seen.insert(link.clone()));
    Resolved { pins, places, warnings }
}

/// True of what torch needs of a GPU, by its name.
pub(super) fn is_for_gpus(name: &str) -> bool {
    let begins = GPU_NAMES.iter().any(|start| name.starts_with(start));
    (begins && name != GPU_READER) || GPU_PACKAGES.contains(&name)
}

fn is_public(url: &str) -> bool {
    url.trim_end_matches('/') == indexes::PUBLIC
}

/// True of an index of PyTorch's own.
pub(super) fn is_index(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| rest.split('/').next() == Some(HOST))
}

/// What a person is told when the index that has it does not answer.
pub(super) fn unanswered(of: &str) -> String {
    format!(
        "the index of torch for machines without a GPU does not answer: the one of {of} is taken, which is larger"
    )
}

/// What a person is told when a lock stays as it is because of what uv said.
pub(super) fn kept_as_it_is(members: &[Pin], words: &str) -> String {
    match failure(words) {
        Failure::Unreachable { of_torch: true } => unanswered("the lock"),
        Failure::Unsolvable { missing: Some((name, version)) }
            if members.iter().any(|pin| pin.name == name) =>
        {
            format!(
                "the index of torch for machines without a GPU lacks {name} {version}: the one of the lock is taken, which is larger"
            )
        }
        Failure::Unsolvable { .. } | Failure::Unreachable { .. } | Failure::Other => {
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            format!(
                "torch for machines without a GPU could not be found: the one of the lock is taken, which is larger ({words})"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "--index-url https://pypi.org/simple\n--extra-index-url https://corp/simple\n\
        --extra-index-url https://download.pytorch.org/whl/cu124\n\
        filelock==3.16 --hash=sha256:aa\nmine @ git+https://h/mine@01\nnvidia-cudnn-cu12==9.1\nnvidia-nccl-cu12==2.21\n\
        nvidia-ml-py==12\n\
        optree==0.13\ntorch==2.5.1+cu124 --hash=sha256:bb\ntorchvision==0.20.1 ; sys_platform == 'linux'\n\
        torchaudio==1 ; sys_platform == 'win32'\ntriton==3.1\n";

    fn read(text: &str) -> Resolved {
        let (pins, places) = pin::read(text, Path::new("/p"));
        Resolved { pins, places, warnings: Vec::new() }
    }

    fn shown(pins: &[Pin]) -> String {
        pin::text(pins, &Places::default())
    }

    #[test]
    fn torch_of_an_index_is_exchanged_unless_it_is_without_a_gpu() {
        let platform = Platform::of_workers(12);
        insta::assert_snapshot!(shown(&members(&read(LOCK).pins, &platform)), @r"
        torch==2.5.1
        torchvision==0.20.1
        ");
        let done = "torch==2.5.1+cpu\ntorchvision==0.20.1+cpu.cxx11.abi\ntorchaudio @ https://h/torchaudio-2.whl\ntorchmetrics==1\n";
        assert_eq!(members(&read(done).pins, &platform), []);
        let mac = Platform { system: "darwin", ..Platform::of_workers(12) };
        assert_eq!(members(&read("torch==2.5.1\n").pins, &mac), []);
    }

    #[test]
    fn uv_is_asked_for_torch_beside_the_versions_of_the_lock() {
        let (lock, platform) = (read(LOCK), Platform::of_workers(12));
        let asked = question(&lock, &members(&lock.pins, &platform), &platform, Path::new("/p"));
        let constraints = asked.constraints.iter().map(|line| format!("constraint {line}"));
        let lines: Vec<_> = asked.options.into_iter().chain(asked.wanted).chain(constraints).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        --extra-index-url https://corp/simple
        torch==2.5.1
        torchvision==0.20.1
        constraint filelock==3.16
        constraint nvidia-cudnn-cu12==9.1
        constraint nvidia-nccl-cu12==2.21
        constraint nvidia-ml-py==12
        constraint optree==0.13
        constraint triton==3.1
        ");
    }

    #[test]
    fn what_only_torch_needed_of_a_gpu_goes_and_all_else_stays_as_it_was() {
        let (lock, platform) = (read(LOCK), Platform::of_workers(12));
        let members = members(&lock.pins, &platform);
        // Something else asks for one of NVIDIA's; `optree` came with an extra of torch.
        let left = ["filelock", "mine", "nvidia-nccl-cu12"].map(str::to_owned).into();
        let found = "--index-url https://pypi.org/simple\n--extra-index-url https://corp/simple\nfilelock==3.16 --hash=sha256:cc\nsetuptools==75 --hash=sha256:ee\n\
            torch==2.5.1+cpu --hash=sha256:dd\n    # from https://download.pytorch.org/whl/cpu\ntorchvision==0.20.1+cpu\n";
        let Resolved { pins, places, warnings } = exchanged(lock, &members, &left, read(found), &platform);
        assert_eq!(warnings, [""; 0]);
        insta::assert_snapshot!(pin::text(&pins, &places), @r"
        --index-url https://pypi.org/simple
        --extra-index-url https://corp/simple
        --extra-index-url https://download.pytorch.org/whl/cu124
        --extra-index-url https://download.pytorch.org/whl/cpu
        filelock==3.16 --hash=sha256:aa
        mine @ git+https://h/mine@01
        nvidia-ml-py==12
        nvidia-nccl-cu12==2.21
        optree==0.13
        setuptools==75 --hash=sha256:ee
        torch==2.5.1+cpu --hash=sha256:dd
        torchvision==0.20.1+cpu
        ");
    }

    #[test]
    fn why_a_lock_stays_as_it_is_is_told_in_one_sentence() {
        let members = [Pin::version("torch", "2.5.1", Hashes::new(), None)];
        let check = |words: &str| kept_as_it_is(&members, words);
        insta::assert_snapshot!(check("error: Failed to fetch: https://download.pytorch.org/whl/cpu/torch/\n  cause: tcp connect error"), @"the index of torch for machines without a GPU does not answer: the one of the lock is taken, which is larger");
        insta::assert_snapshot!(check("error: No solution found when resolving dependencies\n  cause: Because there is no version of torch==2.5.1 and you require torch==2.5.1"), @"the index of torch for machines without a GPU lacks torch 2.5.1: the one of the lock is taken, which is larger");
        insta::assert_snapshot!(check("No solution found\n  cause: Because there is no version of six==9"), @"torch for machines without a GPU could not be found: the one of the lock is taken, which is larger (No solution found cause: Because there is no version of six==9)");
    }

    #[test]
    fn a_requirement_for_gpus_is_asked_for_without_its_tag() {
        for (line, expected) in [
            ("torch==2.5.1+cu124", "torch==2.5.1"),
            (
                "Torch[opt-einsum] == 2.5.1+rocm6.2,<3 ; python_version > '3'  # +cu",
                "Torch[opt-einsum] == 2.5.1,<3 ; python_version > '3'  # +cu",
            ),
            ("fbgemm_gpu==1.0+cu124 --hash=sha256:aa", "fbgemm_gpu==1.0 --hash=sha256:aa"),
            ("torch==2.5.1+cpu", "torch==2.5.1+cpu"),
            ("torch>=2 # not 2.5.1+cu124", "torch>=2 # not 2.5.1+cu124"),
            ("torch @ https://h/torch-2.5.1+cu124.whl", "torch @ https://h/torch-2.5.1+cu124.whl"),
            ("torch-geometric==2.6+pt25cu124", "torch-geometric==2.6+pt25cu124"),
            ("mine==1+local", "mine==1+local"),
            ("-e ./torch==1+cu124", "-e ./torch==1+cu124"),
        ] {
            assert_eq!(for_any_machine(line), expected);
        }
    }
}
