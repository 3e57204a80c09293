//! Fetches passwords: from a command, a file, the environment, a credential. Floor 3.
//!
//! A secret is fetched when it is needed and dropped after the login; nothing is cached here. Only the
//! bytes of the secret are ever kept, in memory that is wiped.

mod echo;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::adapters::process::Group;
use crate::adapters::{keyring, oauth};
use crate::model::account::SecretSource;
use crate::model::failure::{Failure, Kind, Remedy, Scope, server_words};

/// Returns the password of an account.
///
/// A command gets 60 s, no shell, no stdin and its own process group, which is killed at the limit or
/// when the future is dropped.
///
/// # Errors
///
/// `NeedsLogin`, with a cure that names the key `password` of the account.
pub async fn resolve(source: &SecretSource, account: &str) -> Result<SecretString, Failure> {
    let asked = Asked { account, is_token: source.is_token() };
    match source {
        SecretSource::Command(argv) | SecretSource::Token(argv) => {
            run(argv, None, &asked, COMMAND_LIMIT).await
        }
        SecretSource::File(path) => read(path.clone(), Guarded::ByMode, &asked).await,
        SecretSource::Env(name) => match std::env::var(name).map(Zeroizing::new) {
            Ok(value) => finish(value.as_bytes(), &asked),
            Err(err) => Err(asked.failed(format!("environment variable {name}: {err}"))),
        },
        SecretSource::Credential(name) => {
            let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
                return Err(asked.failed(format!(
                    "credential {name}: CREDENTIALS_DIRECTORY is not set, so systemd passed none"
                )));
            };
            if name.is_empty() || name.contains('/') {
                return Err(asked.failed(format!("credential {name:?} is not a file name")));
            }
            read(PathBuf::from(dir).join(name), Guarded::BySystem, &asked).await
        }
        SecretSource::Keyring => {
            let secret = keyring::lookup(account).await?;
            finish(secret.expose_secret().as_bytes(), &asked)
        }
        SecretSource::OAuth(oauth) => oauth::access_token(oauth, account).await,
        SecretSource::Plain(value) => finish(value.as_bytes(), &asked),
    }
}

/// Where a command is tried out: with this in its environment and nothing else, behind these words.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Names and values.
    pub environment: Vec<(OsString, OsString)>,
    /// A program that runs the command, with its arguments.
    pub starter: Vec<String>,
}

/// Whether the command of a source gives a secret in other surroundings; `None` where the source is no
/// command. The secret is dropped.
///
/// # Errors
///
/// As [`resolve`].
pub async fn rehearse(
    source: &SecretSource,
    account: &str,
    there: &Surroundings,
) -> Option<Result<(), Failure>> {
    let (SecretSource::Command(argv) | SecretSource::Token(argv)) = source else { return None };
    let asked = Asked { account, is_token: source.is_token() };
    Some(run(argv, Some(there), &asked, REHEARSAL_LIMIT).await.map(drop))
}

/// Logs in, with a secret if there is one, and once more with another access token where the first
/// was refused.
///
/// # Errors
/// As [`resolve`] and `log_in`.
pub async fn log_in<T, F>(
    source: Option<&SecretSource>,
    account: &str,
    log_in: impl Fn(Option<SecretString>) -> F,
) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let Some(source) = source else { return log_in(None).await };
    let secret = resolve(source, account).await?;
    let guarded = async |secret: SecretString| {
        let done = log_in(Some(secret.clone())).await;
        done.map_err(|failure| echo::without(&secret, failure))
    };
    let mut done = guarded(secret.clone()).await;
    if is_refused(&done)
        && let SecretSource::OAuth(oauth) = source
        && let Some(fresh) = oauth::renew(oauth, account, &secret).await?
    {
        done = guarded(fresh).await;
    }
    if is_refused(&done) && matches!(source, SecretSource::OAuth(_)) {
        return done.map_err(|failure| {
            failure.cure(format!(
                "check that the account may be used by mail programs, and \"user\"; else sign in again: \
                 postrider login {account}"
            ))
        });
    }
    done
}

fn is_refused<T>(done: &Result<T, Failure>) -> bool {
    done.as_ref().is_err_and(|failure| failure.kind == Kind::AuthFailed)
}

struct Asked<'a> {
    account: &'a str,
    is_token: bool,
}

impl Asked<'_> {
    fn failed(&self, detail: String) -> Failure {
        let (what, key) = match self.is_token {
            true => ("get the access token", "oauth"),
            false => ("get the password", "password"),
        };
        Failure::new(Scope::Account, Remedy::Later, Kind::NeedsLogin, what)
            .detail(detail)
            .cure(format!("check \"{key}\" of account {}", self.account))
    }
}

/// Who keeps other users from reading the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guarded {
    ByMode,
    BySystem,
}

async fn read(path: PathBuf, guarded: Guarded, asked: &Asked<'_>) -> Result<SecretString, Failure> {
    let shown = path.display().to_string();
    let bytes = match spawn_blocking(move || read_file(&path, guarded)).await {
        Ok(bytes) => bytes.map_err(|err| asked.failed(format!("file {shown}: {err}")))?,
        Err(err) => return Err(asked.failed(format!("file {shown}: {err}"))),
    };
    let one =
        bytes.strip_suffix(b"\n").map_or(&**bytes, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    finish(one, asked)
}

fn read_file(path: &Path, guarded: Guarded) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a FIFO must not hang; a link is fine, since the target's mode is what is checked.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
    let file = File::options()
        .read(true)
        .custom_flags(i32::try_from(nonblocking).unwrap_or_default())
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if guarded == Guarded::ByMode && meta.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "others may read it (mode {:03o}): run chmod 600 on it",
            meta.mode() & 0o777
        )));
    }
    drain(file)
}

fn drain(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    let limit = u64::try_from(SECRET_BYTES_MAX + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(io::Error::other("more than 64 KiB"));
    }
    Ok(bytes)
}

async fn run(
    argv: &[String],
    there: Option<&Surroundings>,
    asked: &Asked<'_>,
    limit: Duration,
) -> Result<SecretString, Failure> {
    let Some(program) = argv.first() else {
        return Err(asked.failed("the password command is empty".to_owned()));
    };
    let wrong = |detail: String| asked.failed(format!("password command {program}: {detail}"));
    let mut words = there.iter().flat_map(|there| &there.starter).chain(argv);
    let mut command = Command::new(words.next().unwrap_or(program));
    command.args(words);
    if let Some(there) = there {
        let environment = there.environment.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(environment);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|err| wrong(err.to_string()))?;
    // Kills the whole group however this function is left; a pinentry must not outlive its caller.
    let group = Group::led_by(child.id());
    let said = child.stderr.take().map(|stderr| tokio::spawn(last_line(stderr)));
    let answer = timeout(limit, answer(&mut child)).await;
    let (trouble, bytes) = match answer {
        Ok(Ok((status, bytes))) if status.success() => (None, bytes),
        Ok(Ok((status, bytes))) => (Some(describe(status)), bytes),
        Ok(Err(err)) => (Some(err.to_string()), Zeroizing::default()),
        Err(_) => (Some(format!("no answer within {} s", limit.as_secs())), Zeroizing::default()),
    };
    if let Some(trouble) = trouble {
        // Whoever still holds its stderr open is killed with it.
        drop(group);
        return Err(wrong(format!("{trouble}{}", excuse(said, &bytes).await)));
    }
    group.disarm();
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    finish(line.strip_suffix(b"\r").unwrap_or(line), asked)
}

/// Reads until the command ended; a child of its own that keeps the pipe open is not waited for.
async fn answer(child: &mut Child) -> io::Result<(ExitStatus, Zeroizing<Vec<u8>>)> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    let Some(mut stdout) = child.stdout.take() else {
        return Err(io::Error::other("no pipe"));
    };
    let mut open = true;
    let status = loop {
        tokio::select! {
            biased;
            more = chunk(&mut stdout, &mut bytes), if open => open = more?,
            status = child.wait() => break status?,
        }
    };
    while open && !bytes.contains(&b'\n') {
        match timeout(LINGER, chunk(&mut stdout, &mut bytes)).await {
            Ok(more) => open = more?,
            Err(_) => break,
        }
    }
    Ok((status, bytes))
}

/// Reads some bytes; false at the end. Cancel safe: a read that is dropped took nothing.
async fn chunk(
    pipe: &mut (impl AsyncRead + Unpin),
    bytes: &mut Zeroizing<Vec<u8>>,
) -> io::Result<bool> {
    let mut part = Zeroizing::new([0_u8; 4096]);
    let n = pipe.read(part.as_mut_slice()).await?;
    if bytes.len() + n > SECRET_BYTES_MAX {
        return Err(io::Error::other("more than 64 KiB of output"));
    }
    bytes.extend_from_slice(part.get(..n).unwrap_or_default());
    Ok(n > 0)
}

/// Drains stderr, so that the command never blocks on it, and returns its last line.
async fn last_line(mut stderr: impl AsyncRead + Unpin) -> Option<String> {
    let mut tail: Vec<u8> = Vec::new();
    let mut part = [0_u8; 1024];
    while let Ok(n) = stderr.read(&mut part).await
        && n > 0
    {
        tail.extend_from_slice(part.get(..n).unwrap_or_default());
        tail.drain(..tail.len().saturating_sub(1024));
    }
    let text = String::from_utf8_lossy(&tail);
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().take(STDERR_CHARS_MAX).collect())
}

/// What a command that failed said last; nothing if that holds a word of what it printed, which may be the secret.
async fn excuse(said: Option<JoinHandle<Option<String>>>, printed: &[u8]) -> String {
    let Some(said) = said else { return String::new() };
    let Ok(Ok(Some(line))) = timeout(LINGER, said).await else { return String::new() };
    let printed = Zeroizing::new(String::from_utf8_lossy(printed).into_owned());
    if printed.split_whitespace().any(|word| line.contains(word)) {
        return String::new();
    }
    format!("; it said: {}", server_words(&line))
}

fn describe(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("failed (exit {code})"),
        None => format!("failed ({status})"),
    }
}

fn finish(bytes: &[u8], asked: &Asked<'_>) -> Result<SecretString, Failure> {
    if bytes.is_empty() {
        return Err(asked.failed("the password is empty".to_owned()));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains('\0') => {
            Err(asked.failed("the password holds a NUL byte".to_owned()))
        }
        Ok(text) => Ok(SecretString::from(text)),
        Err(_) => Err(asked.failed("the password is not UTF-8".to_owned())),
    }
}

const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// A pinentry that waits for somebody who is not there waits for ever.
const REHEARSAL_LIMIT: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(1);
const SECRET_BYTES_MAX: usize = 64 * 1024;
const STDERR_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::os::unix::fs::PermissionsExt;

    async fn command(argv: &[&str]) -> Result<String, Failure> {
        let argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
        resolve(&SecretSource::Command(argv), "work").await.map(|s| s.expose_secret().to_owned())
    }

    async fn file(content: &[u8], mode: u32) -> Result<String, Failure> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        resolve(&SecretSource::File(path), "work").await.map(|s| s.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn a_command_gives_its_first_line() {
        assert_eq!(command(&["printf", "a b \\nuser: x\\n"]).await.unwrap(), "a b ");
        assert_eq!(command(&["printf", "crlf\\r\\n"]).await.unwrap(), "crlf");
        assert_eq!(command(&["printf", "$HOME"]).await.unwrap(), "$HOME");
    }

    #[tokio::test]
    async fn a_command_that_fails_names_the_key_and_never_its_output() {
        for argv in [
            &["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"][..],
            &["true"],
            &["/nonexistent/program"],
            &["sh", "-c", "head -c 70000 /dev/zero | tr '\\0' x"],
        ] {
            let failure = command(argv).await.unwrap_err();
            assert_eq!(failure.kind, Kind::NeedsLogin);
            let text = failure.to_string();
            assert!(text.contains("\"password\" of account work"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_command_that_fails_is_quoted_in_one_harmless_line_that_holds_nothing_it_printed() {
        let long = format!("echo {} >&2; exit 1", "x".repeat(5000));
        for (script, shown) in [
            (
                "echo trying >&2; echo 'gpg: no secret key' >&2; exit 2",
                "(exit 2); it said: gpg: no secret key",
            ),
            ("printf '\\033[2Jcleared\\n\\n' >&2; exit 2", "it said: \\u{1b}[2Jcleared"),
            ("kill -9 $$", "failed (signal: 9"),
            (&long, "it said: xxxxx"),
            // Whoever keeps stderr open is not waited for.
            ("sleep 100 & echo gone >&2; exit 1", "it said: gone"),
        ] {
            let failure = command(&["sh", "-c", script]).await.unwrap_err();
            let text = failure.detail.unwrap();
            assert!(text.contains(shown) && text.len() < 300, "{text}");
            assert!(!text.contains(char::is_control), "{text}");
        }
        let failure =
            command(&["sh", "-c", "echo 'hunter2 x'; echo got hunter2 >&2; exit 3"]).await;
        let text = failure.unwrap_err().to_string();
        assert!(text.contains("exit 3") && !text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_its_children() {
        let argv = ["sh".to_owned(), "-c".to_owned(), "sleep 100 & echo $! >&2; wait".to_owned()];
        let failure = run(
            &argv,
            None,
            &Asked { account: "work", is_token: false },
            Duration::from_millis(100),
        )
        .await
        .unwrap_err();
        assert!(failure.to_string().contains("no answer"), "{failure}");
    }

    #[tokio::test]
    async fn a_background_child_that_keeps_the_pipe_is_not_waited_for() {
        assert_eq!(command(&["sh", "-c", "echo pw; sleep 5 &"]).await.unwrap(), "pw");
    }

    #[tokio::test]
    async fn a_file_is_read_only_while_private_and_loses_one_newline() {
        assert_eq!(file(b"pw\n", 0o600).await.unwrap(), "pw");
        assert_eq!(file(b"pw\r\n", 0o400).await.unwrap(), "pw");
        assert_eq!(file(b"pw\n\n", 0o600).await.unwrap(), "pw\n");
        assert!(file(b"pw\n", 0o640).await.unwrap_err().to_string().contains("chmod 600"));
        assert!(file(b"\n", 0o600).await.unwrap_err().to_string().contains("empty"));
    }

    #[tokio::test]
    async fn what_is_not_set_needs_a_login() {
        let missing = SecretSource::Env("POSTRIDER_TEST_NOT_SET".to_owned());
        assert_eq!(resolve(&missing, "work").await.unwrap_err().kind, Kind::NeedsLogin);
        let odd = SecretSource::Credential("../x".to_owned());
        assert_eq!(resolve(&odd, "work").await.unwrap_err().kind, Kind::NeedsLogin);
    }
}
