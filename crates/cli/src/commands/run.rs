//! `rgrid run`: one script, from the key press to its files.

use std::path::Path;
use std::time::SystemTime;

use rgrid_api::executions::Created;
use rgrid_api::logs::Cursor;
use rgrid_core::hint::Given;
use rgrid_core::outcome::EXIT_INTERRUPTED;
use rgrid_core::quantity::format_bytes;
use rgrid_core::submission::InputKind;

use crate::args::{OnInterrupt, RunArgs};
use crate::conclusion::conclude;
use crate::discovery::{Discovery, consent};
use crate::download::{Before, Place, Sent};
use crate::ending::{self, Here, Typed};
use crate::errors::Error;
use crate::follow::Show;
use crate::grid::EmbeddedGrid;
use crate::interrupt::Signals;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::session::{Connection, Session};
use crate::submission::{self, Prepared};
use crate::terminal::{self, shown};
use crate::watch::{self, Watch, Watched};
use crate::{ask, reuse, stdin, upload};

pub(super) async fn run<G: EmbeddedGrid>(args: RunArgs, session: &Session<'_, G>) -> Result<u8, Error> {
    if let Some(option) = args.later.first() {
        return Err(Error::NotInThisVersion { option });
    }
    // From here on a file that changes is somebody's newer work.
    let submitted = SystemTime::now();
    let with_stdin = !args.no_stdin && !args.detach && stdin::is_piped(session.terminal);
    let here = session.sandbox()?;
    let mut prepared = submission::prepare(&args, session, here, with_stdin, None).await?;
    if args.dry_run {
        return Ok(dry_run(prepared, here.is_some(), session));
    }
    for warning in &prepared.discovery.warnings {
        session.notes.say(&shown(warning));
    }
    tell_packages(&prepared, session);
    let connection = session.connect().await?;
    // The grid's start may have found something else than was taken for granted.
    let found = session.sandbox()?;
    if found != here {
        prepared = submission::prepare(&args, session, found, with_stdin, prepared.spooled).await?;
        tell_packages(&prepared, session);
    }
    let mut signals = Signals::install();
    let created = submission::submit(session, &connection, &prepared.body).await?;
    let id = created.execution.id.as_str();
    if created.reused {
        session.notes.say(&shown(&reuse::sentence(&created.execution, chrono::Utc::now())));
    }
    if !created.missing.is_empty() {
        hand_over(&args, session, &connection, &prepared, &created, &mut signals).await?;
    }
    if args.detach {
        terminal::print(&session.output().submitted(&created.execution, created.reused));
        return Ok(0);
    }
    // Of one that has ended nothing is left to cancel or to feed.
    let policy = match created.reused {
        true => OnInterrupt::Detach,
        false => args.on_interrupt.unwrap_or(default_policy(&connection)),
    };
    let source = prepared.spooled.as_ref().map_or(stdin::Source::Pipe, stdin::Spooled::source);
    let stdin = (with_stdin && !created.reused).then_some(source);
    let watched = watch::watch(
        session,
        &connection,
        Watch {
            id,
            cursor: Cursor::default(),
            show: if session.globals.json { Show::BothOnStderr } else { Show::Both },
            policy,
            stdin,
        },
        &mut signals,
    )
    .await?;
    let Watched::Ended { execution, stderr_tail, cancelled_here } = watched else {
        return Ok(EXIT_INTERRUPTED);
    };
    let said = if cancelled_here {
        None
    } else {
        let given = Given { network: prepared.body.network != Some(false), stdin: with_stdin };
        let discovery = &prepared.discovery;
        let cwd = Path::new(discovery.cwd.as_str());
        let roots = [&discovery.first_on_path, &discovery.cwd, &discovery.project_root];
        let here = Here { cwd, module_folders: roots.map(|folder| Path::new(folder.as_str())).to_vec() };
        ending::message(&execution, &stderr_tail, &typed(&args), given, &here, session.terminal.stderr)
    };
    let place = place(&args, &prepared.discovery);
    let before = Before { sent: sent(&prepared.discovery), submitted };
    conclude(session, &connection, &execution, (&place, &before), (said, created.reused), &mut signals).await
}

/// On this machine's own grid Ctrl-C ends the script, as it would without us; elsewhere it lets go of it.
fn default_policy(connection: &Connection) -> OnInterrupt {
    if connection.embedded { OnInterrupt::Cancel } else { OnInterrupt::Detach }
}

/// The command line of this process. The script's words are the last ones: everything after it is its own.
fn typed(args: &RunArgs) -> Typed {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let scripts = if args.script.is_empty() { args.module.len() + 1 } else { args.script.len() };
    Typed { ours: words.len().saturating_sub(scripts), words }
}

/// Says where the packages come from.
fn tell_packages<G: EmbeddedGrid>(prepared: &Prepared, session: &Session<'_, G>) {
    if let Some(lock) = &prepared.lock {
        session.notes.say(&shown(&lock.sentence()));
        lock.warnings.iter().for_each(|warning| session.notes.say(&shown(warning)));
    }
}

fn dry_run<G: EmbeddedGrid>(prepared: Prepared, embedded: bool, session: &Session<'_, G>) -> u8 {
    let Prepared { discovery, interpreter, body, lock, lock_file: _, spooled: _ } = prepared;
    let mut warnings = discovery.warnings.clone();
    warnings.extend(lock.iter().flat_map(|lock| lock.warnings.clone()));
    let plan = Plan { discovery, interpreter, body, lock, embedded };
    terminal::print(&session.output().plan(&plan));
    for warning in warnings {
        session.notes.say(&shown(&warning));
    }
    0
}

/// Sends what is missing, unless it is much and nobody agrees. What is not handed over does not stay behind.
async fn hand_over<G: EmbeddedGrid>(
    args: &RunArgs,
    session: &Session<'_, G>,
    connection: &Connection,
    prepared: &Prepared,
    created: &Created,
    signals: &mut Signals,
) -> Result<(), Error> {
    let discovery = &prepared.discovery;
    let mut locals = upload::locals(discovery.inputs.iter().map(|found| &found.input));
    locals.extend(prepared.lock_file.clone());
    let progress = Progress::new(session.terminal, session.notes);
    let sending = async {
        if !args.yes {
            agree(session, discovery, created, signals).await?;
        }
        tokio::select! {
            sent = upload::send(connection, created.missing.clone(), &locals, &progress) => sent,
            _ = signals.next() => Err(Error::Interrupted),
        }
    };
    let result = sending.await;
    progress.clear();
    // A cut upload may be taken up by the next command; one that nobody wants any more must not wait for it.
    if matches!(result, Err(Error::Interrupted | Error::Consent { .. } | Error::ChangedWhileSent { .. })) {
        // The person hears why the command failed; the grid forgets it after an hour in any case.
        let _ = connection.client().cancel(&created.execution.id).await;
    }
    result
}

/// Asks before much is sent.
async fn agree<G: EmbeddedGrid>(
    session: &Session<'_, G>,
    discovery: &Discovery,
    created: &Created,
    signals: &mut Signals,
) -> Result<(), Error> {
    let missing: std::collections::HashSet<&str> =
        created.missing.iter().map(|upload| upload.sha256.as_str()).collect();
    let files = discovery.inputs.iter().filter_map(|found| match &found.input.kind {
        InputKind::File { sha256, size_bytes, .. } => {
            missing.contains(sha256.to_string().as_str()).then_some((&found.input.path, *size_bytes))
        }
        InputKind::Folder | InputKind::Symlink { .. } => None,
    });
    let Some(question) = consent::question(files) else { return Ok(()) };
    let largest = question.largest.iter().map(|(path, size)| (path.to_string(), *size)).collect();
    let refused = Error::Consent { bytes: question.bytes, files: question.files as u64, largest };
    if !session.terminal.stdin || !session.terminal.stderr {
        return Err(refused);
    }
    terminal::write_stderr(&format!("rgrid: {}\n", refused.message().what));
    let agreed = ask::confirm(&format!("send {}?", format_bytes(question.bytes)), signals).await?;
    if agreed { Ok(()) } else { Err(refused) }
}

fn place(args: &RunArgs, discovery: &Discovery) -> Place {
    let mut roots = vec![discovery.project_root.clone()];
    roots.extend(discovery.output_roots.iter().chain(&discovery.outputs).cloned());
    let folder = args.output_dir.as_ref().map(|folder| Path::new(discovery.cwd.as_str()).join(folder));
    Place::new(discovery.project_root.clone(), roots, folder)
}

fn sent(discovery: &Discovery) -> std::collections::HashMap<String, Sent> {
    let files = discovery.inputs.iter().filter_map(|found| match &found.input.kind {
        InputKind::File { sha256, size_bytes, modified_ns, .. } => Some((
            found.input.path.to_string(),
            Sent { sha256: sha256.to_string(), size_bytes: *size_bytes, modified_ns: Some(*modified_ns) },
        )),
        InputKind::Folder | InputKind::Symlink { .. } => None,
    });
    files.collect()
}
