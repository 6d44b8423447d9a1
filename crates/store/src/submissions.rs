//! A submission in rows, both directions: one row of `executions`, one of `artifacts` per input, and the variables as
//! one sealed object.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rgrid_core::dependencies::Dependencies;
use rgrid_core::id::{AccountId, ExecutionId};
use rgrid_core::path::AbsolutePath;
use rgrid_core::submission::{Draft, Input, InputKind, Program, Submission, Wanted};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use crate::dependencies;
use crate::executions::BlobName;
use crate::row::{self, Columns};
use crate::vault::{Place, Sealed};
use crate::{Error, Result, Store};

/// The name under which an execution's variables are sealed.
const ENVIRONMENT: &str = "environment";
/// The name under which credentials of package indexes are sealed.
const CREDENTIALS: &str = "credentials";

/// The blobs that a submission names, each once.
pub(crate) fn blobs_of(submission: &Submission) -> Vec<BlobName> {
    let blob = |input: &Input| match &input.kind {
        InputKind::File { sha256, size_bytes, .. } => {
            Some(BlobName { sha256: *sha256, size_bytes: *size_bytes })
        }
        InputKind::Folder | InputKind::Symlink { .. } => None,
    };
    submission.inputs.iter().filter_map(blob).collect::<BTreeSet<_>>().into_iter().collect()
}

/// How a program is written in its three columns.
fn program_columns(program: &Program) -> (&'static str, &str, Option<&str>) {
    match program {
        Program::Script { path, argv0 } => ("script", path.as_str(), argv0.as_deref()),
        Program::Module(name) => ("module", name, None),
    }
}

/// Reads the three columns.
pub(crate) fn program(row: &PgRow) -> Result<Program> {
    let text: &str = row.try_get("program")?;
    match row.try_get("program_kind")? {
        "script" => Ok(Program::Script { path: row::parsed("program", text)?, argv0: row.try_get("argv0")? }),
        "module" => Ok(Program::Module(text.to_owned())),
        other => Err(Error::corrupt("program", other)),
    }
}

/// Reads what is asked of a worker.
pub(crate) fn wanted(row: &PgRow) -> Result<Wanted> {
    let bytes = |column: &'static str| -> Result<Option<u64>> {
        let bytes: Option<i64> = row.try_get(column)?;
        bytes.map(u64::try_from).transpose().map_err(|error| Error::corrupt(column, error))
    };
    let cpu_millis: Option<i32> = row.try_get("cpu_millis")?;
    let cpu_millis =
        cpu_millis.map(u32::try_from).transpose().map_err(|error| Error::corrupt("cpu_millis", error))?;
    Ok(Wanted { cpu_millis, memory_bytes: bytes("memory_bytes")?, disk_bytes: bytes("disk_bytes")? })
}

/// Reads the user's labels.
pub(crate) fn metadata(row: &PgRow) -> Result<BTreeMap<String, String>> {
    let Json(metadata) = row.try_get("metadata")?;
    Ok(metadata)
}

fn texts(paths: &[AbsolutePath]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

impl Store {
    /// Writes the row of an execution; `status` is `pending` or `queued`.
    pub(crate) async fn insert_execution(
        &self,
        connection: &mut PgConnection,
        new: &NewExecution<'_>,
    ) -> Result<()> {
        let NewExecution { id, account, lane_id, submission, status, follow_ms } = new;
        let sealed = self.seal(*account, *id, ENVIRONMENT, &submission.environment)?;
        let dependencies = submission.dependencies.as_ref();
        let credentials = match dependencies {
            Some(dependencies) => self.seal(*account, *id, CREDENTIALS, &dependencies.credentials)?,
            None => None,
        };
        let asked = self.asked(*account, submission);
        let (program_kind, program, argv0) = program_columns(&submission.program);
        sqlx::query(include_str!("../queries/executions/insert.sql"))
            .bind(id.to_string())
            .bind(account.to_string())
            .bind(lane_id)
            .bind(&submission.name)
            .bind(status.as_str())
            .bind(program_kind)
            .bind(program)
            .bind(&submission.args)
            .bind(submission.cwd.as_str())
            .bind(submission.project_root.as_str())
            .bind(submission.runtime.to_string())
            .bind(submission.interpreter.as_ref().map(AbsolutePath::as_str))
            .bind(submission.environment.keys().cloned().collect::<Vec<_>>())
            .bind(sealed.as_ref().map(|sealed| sealed.ciphertext.as_slice()))
            .bind(sealed.as_ref().map(|sealed| sealed.key_name.as_str()))
            .bind(submission.stdin)
            .bind(submission.wanted.cpu_millis.map(row::integer))
            .bind(submission.wanted.memory_bytes.map(row::bigint))
            .bind(submission.wanted.disk_bytes.map(row::bigint))
            .bind(row::millis(submission.timeout))
            .bind(row::millis(submission.grace))
            .bind(row::integer(submission.retries))
            .bind(submission.retry_on.iter().map(|code| i16::from(*code)).collect::<Vec<_>>())
            .bind(submission.network)
            .bind(texts(&submission.output_roots))
            .bind(texts(&submission.outputs))
            .bind(submission.priority)
            .bind(Json(&submission.metadata))
            .bind(argv0)
            .bind(follow_ms)
            .bind(row::integer(submission.umask))
            .bind(dependencies.map(|dependencies| Json(dependencies::column(dependencies))))
            .bind(credentials.as_ref().map(|sealed| sealed.ciphertext.as_slice()))
            .bind(credentials.as_ref().map(|sealed| sealed.key_name.as_str()))
            .bind(submission.interpreter_state.map(|state| state.0.to_vec()))
            .bind(asked.as_ref().map(|asked| asked.place.0.to_vec()))
            .bind(asked.as_ref().map(|asked| asked.question.0.to_vec()))
            .bind(asked.as_ref().map(|asked| asked.key.0.to_vec()))
            .execute(connection)
            .await?;
        Ok(())
    }

    /// What was submitted, by execution.
    pub(crate) async fn submissions(
        &self,
        connection: &mut PgConnection,
        ids: &[ExecutionId],
    ) -> Result<HashMap<ExecutionId, (AccountId, Submission)>> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let rows = sqlx::query(include_str!("../queries/executions/submissions.sql"))
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?;
        let inputs = sqlx::query(include_str!("../queries/executions/inputs.sql"))
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await?;
        let mut inputs_by_id: HashMap<ExecutionId, Vec<Input>> = HashMap::with_capacity(rows.len());
        for row in &inputs {
            inputs_by_id.entry(row.text("execution_id")?).or_default().push(read_input(row)?);
        }
        let mut submissions = HashMap::with_capacity(rows.len());
        for row in &rows {
            let id = row.text("id")?;
            let inputs = inputs_by_id.remove(&id).unwrap_or_default();
            submissions.insert(id, (row.text("account_id")?, self.read_submission(id, row, inputs)?));
        }
        Ok(submissions)
    }

    fn read_submission(&self, id: ExecutionId, row: &PgRow, inputs: Vec<Input>) -> Result<Submission> {
        let draft = Draft {
            name: row.try_get("name")?,
            program: program(row)?,
            args: row.try_get("args")?,
            cwd: row.text("cwd")?,
            project_root: row.text("project_root")?,
            inputs,
            runtime: row.text("runtime")?,
            interpreter: row.text_or_null("interpreter")?,
            interpreter_state: row
                .try_get::<Option<&[u8]>, _>("interpreter_state")?
                .map(row::sha256)
                .transpose()?,
            environment: self.open(row.text("account_id")?, id, row, &SEALED_ENVIRONMENT)?,
            stdin: row.try_get("stdin")?,
            wanted: wanted(row)?,
            timeout: row.duration("timeout_ms")?,
            grace: row.duration("grace_ms")?,
            retries: row.number32("retries")?,
            retry_on: retry_on(row)?,
            network: row.try_get("network")?,
            output_roots: row::all_parsed("output_roots", &row.try_get::<Vec<String>, _>("output_roots")?)?,
            outputs: row::all_parsed("outputs", &row.try_get::<Vec<String>, _>("outputs")?)?,
            priority: row.try_get("priority")?,
            metadata: metadata(row)?,
            umask: row.number32("umask")?,
            dependencies: self.read_dependencies(id, row)?,
        };
        draft.parse().map_err(|refusal| Error::corrupt("submission", refusal))
    }

    fn read_dependencies(&self, id: ExecutionId, row: &PgRow) -> Result<Option<Dependencies>> {
        let Some(Json(column)) = row.try_get::<Option<Json<Value>>, _>("dependencies")? else {
            return Ok(None);
        };
        let credentials = self.open(row.text("account_id")?, id, row, &SEALED_CREDENTIALS)?;
        dependencies::read(&column, credentials).map(Some)
    }

    /// Seals values by their names as one object; `None` when there are none.
    fn seal(
        &self,
        account: AccountId,
        execution: ExecutionId,
        name: &str,
        values: &BTreeMap<String, String>,
    ) -> Result<Option<Sealed>> {
        if values.is_empty() {
            return Ok(None);
        }
        let text =
            Value::from_iter(values.iter().map(|(name, value)| (name.clone(), value.clone()))).to_string();
        Ok(Some(self.vault().seal(&Place { account, execution, name }, text.as_bytes())?))
    }

    fn open(
        &self,
        account: AccountId,
        execution: ExecutionId,
        row: &PgRow,
        columns: &SealedColumns,
    ) -> Result<BTreeMap<String, String>> {
        let Some(ciphertext) = row.try_get::<Option<Vec<u8>>, _>(columns.ciphertext)? else {
            return Ok(BTreeMap::new());
        };
        let sealed = Sealed { key_name: row.try_get(columns.key)?, ciphertext };
        let opened = self.vault().open_sealed(&Place { account, execution, name: columns.name }, &sealed)?;
        serde_json::from_slice(&opened).map_err(|error| Error::corrupt(columns.name, error))
    }
}

/// Where a sealed object stands, and the name it was sealed under.
struct SealedColumns {
    name: &'static str,
    ciphertext: &'static str,
    key: &'static str,
}

const SEALED_ENVIRONMENT: SealedColumns =
    SealedColumns { name: ENVIRONMENT, ciphertext: "environment_ciphertext", key: "environment_key" };
const SEALED_CREDENTIALS: SealedColumns =
    SealedColumns { name: CREDENTIALS, ciphertext: "credentials_ciphertext", key: "credentials_key" };

/// An execution that is about to be written.
pub(crate) struct NewExecution<'a> {
    pub(crate) id: ExecutionId,
    pub(crate) account: AccountId,
    pub(crate) lane_id: i64,
    pub(crate) submission: &'a Submission,
    pub(crate) status: rgrid_core::execution::Status,
    /// How long it counts as followed from now on.
    pub(crate) follow_ms: Option<i64>,
}

/// Reads the exit codes after which it is tried again.
pub(crate) fn retry_on(row: &PgRow) -> Result<Vec<u8>> {
    let codes: Vec<i16> = row.try_get("retry_on")?;
    codes
        .into_iter()
        .map(|code| u8::try_from(code).map_err(|error| Error::corrupt("retry_on", error)))
        .collect()
}

pub(crate) fn read_input(row: &PgRow) -> Result<Input> {
    let kind = match row.try_get("entry")? {
        "file" => InputKind::File {
            sha256: row::sha256(row.try_get("sha256")?)?,
            size_bytes: row.number64("size_bytes")?,
            mode: row.number32("mode")?,
            modified_ns: row.try_get("modified_ns")?,
        },
        "folder" => InputKind::Folder,
        "symlink" => InputKind::Symlink { target: row.try_get("target")? },
        other => return Err(Error::corrupt("input", other)),
    };
    Ok(Input { path: row.text("path")?, kind })
}

/// Writes the inputs of an execution.
pub(crate) async fn insert_inputs(
    connection: &mut PgConnection,
    id: ExecutionId,
    inputs: &[Input],
) -> Result<()> {
    if inputs.is_empty() {
        return Ok(());
    }
    let mut columns = InputColumns::default();
    for input in inputs {
        columns.push(input);
    }
    sqlx::query(include_str!("../queries/executions/insert_inputs.sql"))
        .bind(id.to_string())
        .bind(columns.paths)
        .bind(columns.entries)
        .bind(columns.sha256s)
        .bind(columns.sizes)
        .bind(columns.modes)
        .bind(columns.modified)
        .bind(columns.targets)
        .execute(connection)
        .await?;
    Ok(())
}

#[derive(Default)]
struct InputColumns {
    paths: Vec<String>,
    entries: Vec<&'static str>,
    sha256s: Vec<Option<Vec<u8>>>,
    sizes: Vec<i64>,
    modes: Vec<i32>,
    modified: Vec<i64>,
    targets: Vec<Option<String>>,
}

impl InputColumns {
    fn push(&mut self, input: &Input) {
        let (entry, sha256, size_bytes, mode, modified_ns, target) = match &input.kind {
            InputKind::File { sha256, size_bytes, mode, modified_ns } => {
                ("file", Some(sha256.0.to_vec()), *size_bytes, *mode, *modified_ns, None)
            }
            InputKind::Folder => ("folder", None, 0, 0, 0, None),
            InputKind::Symlink { target } => ("symlink", None, 0, 0, 0, Some(target.clone())),
        };
        self.paths.push(input.path.to_string());
        self.entries.push(entry);
        self.sha256s.push(sha256);
        self.sizes.push(row::bigint(size_bytes));
        self.modes.push(row::integer(mode));
        self.modified.push(modified_ns);
        self.targets.push(target);
    }
}
