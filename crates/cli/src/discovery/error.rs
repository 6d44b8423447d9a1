//! Why nothing can be sent, in the user's words. Each Display is a whole message: what happened, why, what to do next.

use std::path::{Path, PathBuf};

use rgrid_core::limits;

/// Why the command is refused before anything is sent.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// There is no such script.
    #[error("there is no file {}{}", .path.display(), did_you_mean(.similar))]
    ScriptMissing {
        /// As it was looked for.
        path: PathBuf,
        /// A file that is there and is named much alike.
        similar: Option<PathBuf>,
    },
    /// The script is a folder without `__main__.py`.
    #[error("{} is a folder and holds no __main__.py; name the script in it", .path.display())]
    ScriptIsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The script is a socket, a pipe or a device.
    #[error("{} is not a regular file, and cannot be sent; save the script into a file", .path.display())]
    ScriptIsSpecial {
        /// What was named.
        path: PathBuf,
    },
    /// The script is to be read from stdin.
    #[error("a script cannot be read from stdin; save it into a file and name the file")]
    FromStdin,
    /// The script is a notebook.
    #[error("{} is a notebook, not a script; convert it with: {convert}", .path.display())]
    Notebook {
        /// The notebook.
        path: PathBuf,
        /// The line that converts it.
        convert: String,
    },
    /// `-m` names something that is not a module's name.
    #[error("{name:?} is not the name of a module; a file is run without -m")]
    ModuleName {
        /// What was typed.
        name: String,
    },
    /// The project's folder would be `/`.
    #[error(
        "the script lies in / itself, and the whole file system is never a project; move it into a folder of its own"
    )]
    RootIsSlash,
    /// An argument or `--input` names `/`, the home folder, or a folder above it.
    #[error("{} is never sent whole; name a folder in it{}", .path.display(), unless_text(.argument, .path))]
    NeverWhole {
        /// What is named.
        path: PathBuf,
        /// The argument that names it, unless `--input` does.
        argument: Option<String>,
    },
    /// `--input` names nothing.
    #[error("--input {}: there is no such file or folder{}", .path.display(), did_you_mean(.similar))]
    InputMissing {
        /// As typed.
        path: PathBuf,
        /// Something that is there and is named much alike.
        similar: Option<PathBuf>,
    },
    /// Something that was named outright cannot be sent: a socket, a pipe, a device.
    #[error("--input {}: a socket, a pipe or a device cannot be sent", .path.display())]
    InputIsSpecial {
        /// As typed.
        path: PathBuf,
    },
    /// Something that was named outright cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A name or an argument is not UTF-8.
    #[error("{text} is not UTF-8, and cannot be sent; rename it")]
    NotUtf8 {
        /// The name with the offending bytes escaped.
        text: String,
    },
    /// A path that no file system takes, or that is not absolute.
    #[error(transparent)]
    Path(#[from] rgrid_core::path::PathError),
    /// More files than a manifest may hold.
    #[error(
        "{files} files would travel, and at most {} may; narrow it with --no-input PATH or a .rgridignore",
        limits::MANIFEST_FILES_MAX
    )]
    TooManyFiles {
        /// How many were found before the search was given up.
        files: usize,
    },
}

fn did_you_mean(similar: &Option<PathBuf>) -> String {
    similar.as_ref().map(|path| format!("; did you mean {}?", path.display())).unwrap_or_default()
}

fn unless_text(argument: &Option<String>, path: &Path) -> String {
    match argument {
        Some(text) => {
            format!(", or say that the argument {text} names no folder: --no-input {}", path.display())
        }
        None => String::new(),
    }
}
