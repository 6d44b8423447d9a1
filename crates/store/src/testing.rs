//! A throwaway database per test, for the tests of every crate.
//!
//! `RGRID_TEST_DATABASE_URL` names a throwaway server (xtask starts one for a whole run); without it each test process
//! starts a private one, by Unix socket only, that ends with the process, however that ends. The schema is migrated
//! once per process into a template of which each test gets a copy.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::Mutex;

use crate::objects::ObjectsConfig;
use crate::{Store, StoreConfig, secret};

/// A server that has not answered by then never will.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Connections of one test's store.
const CONNECTIONS: u32 = 8;
/// Connections of the private server: many tests at once, each with stores of its own.
const SERVER_CONNECTIONS: u32 = 400;
/// Users under which the server may run when we are root: it refuses that, and wants an entry in passwd.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];

/// A database that one test has for itself.
#[derive(Debug)]
pub struct TestDatabase {
    /// How to reach it.
    pub url: String,
    folder: PathBuf,
    store: Store,
}

impl TestDatabase {
    /// A store on it, migrated, with a folder of its own for objects.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// How the store was opened: for a second one on the same database.
    pub fn config(&self) -> StoreConfig {
        store_config(&self.url, &self.folder)
    }

    /// Ends every session of this database and refuses new ones, as a server that is down does, until [`Self::back`].
    pub async fn goes_away(&self) {
        let name = self.name();
        self.admin(format!("alter database {name} with allow_connections false")).await;
        self.admin(format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
        ))
        .await;
    }

    /// The end of [`Self::goes_away`].
    pub async fn back(&self) {
        self.admin(format!("alter database {} with allow_connections true", self.name())).await;
    }

    /// Runs statements in it: what happened long ago is written so, instead of waited for.
    pub async fn execute(&self, statements: &str) {
        let mut connection = PgConnection::connect(&self.url).await.expect("the test server answers");
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .expect("the statements are sound");
        connection.close().await.expect("a connection closes");
    }

    fn name(&self) -> &str {
        let address = self.url.split('?').next().unwrap_or_default();
        address.rsplit('/').next().unwrap_or_default()
    }

    async fn admin(&self, statement: String) {
        let mut admin = server().admin().await.expect("the test server answers");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await.expect("the statement is sound");
        admin.close().await.expect("a connection closes");
    }

    /// A folder that ends with this value.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Makes a database with the schema and nothing in it but the grid's row and the default account.
pub async fn database() -> TestDatabase {
    let server = server();
    let folder = make_folder("rgrid-test");
    let name = format!("{}_{}", server.template, next());
    create_database(server, &name, &server.template).await;
    let url = server.url_of(&name);
    let store =
        Store::connect(&store_config(&url, &folder)).await.expect("a store opens on a fresh test database");
    TestDatabase { url, folder, store }
}

/// Makes a database without any schema.
pub async fn empty_database() -> TestDatabase {
    let server = server();
    let folder = make_folder("rgrid-test");
    let name = format!("{}_{}", server.template, next());
    create_database(server, &name, "template0").await;
    let url = server.url_of(&name);
    let store =
        Store::connect(&store_config(&url, &folder)).await.expect("a store opens on an empty test database");
    TestDatabase { url, folder, store }
}

fn store_config(url: &str, folder: &Path) -> StoreConfig {
    StoreConfig {
        database_url: url.to_owned(),
        objects: ObjectsConfig::Folder(folder.join("objects")),
        vault_key_file: folder.join("vault.key"),
        max_connections: CONNECTIONS,
        application_name: "rgrid test".to_owned(),
    }
}

fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn create_database(server: &Server, name: &str, template: &str) {
    // A template may have no other session while it is copied.
    static COPYING: Mutex<()> = Mutex::const_new(());
    let _copying = COPYING.lock().await;
    let statement = format!("create database {name} template {template}");
    let mut admin = server.admin().await.expect("the test server answers");
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await.expect("a test database can be made");
    admin.close().await.expect("a connection closes");
}

/// The server of this process.
struct Server {
    options: PgConnectOptions,
    url: String,
    template: String,
    /// Runs the server, and ends it when its standard input closes with this process.
    _supervisor: Option<Child>,
}

impl Server {
    async fn admin(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect_with(&self.options).await
    }

    /// The same server's URL with another database.
    fn url_of(&self, database: &str) -> String {
        let (address, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let scheme_end = address.find("://").map_or(0, |at| at + 3);
        let cut = address[scheme_end..].find('/').map_or(address.len(), |at| scheme_end + at);
        let separator = if query.is_empty() { "" } else { "?" };
        format!("{}/{database}{separator}{query}", &address[..cut])
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        // A thread and a runtime of its own: the caller's runtime ends with its test.
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(start())
        })
        .join()
        .expect("the test server starts")
    })
}

async fn start() -> Server {
    let template = format!("rgrid_test_{}_{}", std::process::id(), u32::from_be_bytes(secret::random()));
    let (url, supervisor) = match std::env::var("RGRID_TEST_DATABASE_URL") {
        Ok(url) => (url, None),
        Err(_) => {
            let (url, supervisor) = start_private();
            (url, Some(supervisor))
        }
    };
    let options: PgConnectOptions = url.parse().expect("the test server's URL reads");
    let server = Server { options, url, template, _supervisor: supervisor };
    let mut admin = answer(&server).await;
    let create = format!("create database {} template template0", server.template);
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await.expect("the template can be made");
    let folder = make_folder("rgrid-test");
    let config = store_config(&server.url_of(&server.template), &folder);
    let store = Store::connect(&config).await.expect("a store opens on the template");
    store.migrate().await.expect("the migrations apply to an empty database");
    store.close().await;
    drop(store);
    let _ = fs::remove_dir_all(&folder);
    server
}

async fn answer(server: &Server) -> PgConnection {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        match server.admin().await {
            Ok(connection) => return connection,
            Err(error) if Instant::now() > deadline => panic!("the test server does not answer: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Runs the server until its standard input closes, and removes its folder.
const SUPERVISOR: &str = r#"
"$1/postgres" -D "$2/data" -k "$2" -p 5432 -c listen_addresses= -c max_connections="$3" -c fsync=off \
    -c full_page_writes=off -c synchronous_commit=off -c shared_buffers=64MB >"$2/log" 2>&1 </dev/null &
server=$!
read -r _
kill -QUIT "$server"
wait "$server"
cd / && rm -rf "$2"
"#;

fn start_private() -> (String, Child) {
    let binaries = binaries().expect(
        "PostgreSQL's programs are not on this machine; run: apt install postgresql (or set RGRID_TEST_DATABASE_URL)",
    );
    let folder = make_folder("rgrid-pg");
    let user = server_user(&folder);
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    if let Some((uid, gid)) = user {
        chown(&folder, Some(uid), Some(gid)).expect("root may give a folder away");
    }
    let made = command(&binaries.join("initdb"))
        .args(["--no-sync", "--auth=trust", "--username=rgrid", "--encoding=UTF8", "--locale=C", "-D"])
        .arg(folder.join("data"))
        .output()
        .expect("initdb runs");
    assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
    let supervisor = command(Path::new("/bin/sh"))
        .arg("-c")
        .arg(SUPERVISOR)
        .arg("sh")
        .arg(&binaries)
        .arg(&folder)
        .arg(SERVER_CONNECTIONS.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell starts");
    (format!("postgres://rgrid@localhost/postgres?host={}", folder.display()), supervisor)
}

/// Where `initdb` and `postgres` are: the highest version of Debian's layout, what `pg_config` says, or PATH.
fn binaries() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let version = |folder: &PathBuf| -> u32 {
        let parent =
            folder.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        parent.and_then(|name| name.parse().ok()).unwrap_or(0)
    };
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packaged = versions.map(|entry| entry.path().join("bin")).filter(complete).max_by_key(version);
    let configured = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim())).filter(complete)
    };
    let on_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(complete);
    packaged.or_else(configured).or_else(on_path)
}

/// Under whom the server runs: `None` for ourselves.
fn server_user(folder: &Path) -> Option<(u32, u32)> {
    let owner = fs::metadata(folder).expect("a folder that was just made is there").uid();
    if owner != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = SERVER_USERS.iter().find_map(|name| ids(name));
    Some(found.expect("PostgreSQL refuses to run as root, and passwd has neither postgres nor nobody"))
}

/// Makes a folder of ours below the system's folder for temporary files: short enough for a socket's path, and
/// searchable for the server's user, which a target folder below a home is not.
fn make_folder(prefix: &str) -> PathBuf {
    let name = format!("{prefix}-{}-{:08x}", std::process::id(), u32::from_be_bytes(secret::random()));
    let folder = std::env::temp_dir().join(name);
    let make = || -> io::Result<()> {
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
    };
    make().expect("a folder for temporary files can be made");
    folder
}
