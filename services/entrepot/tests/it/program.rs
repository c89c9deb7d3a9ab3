//! Starts the program and looks at what it says.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The program with settings of nobody else.
pub(crate) fn entrepot(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entrepot"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    // the usual port may be taken by a platform at work
    command.env("ENTREPOT__ADMIN__LISTEN", "127.0.0.1:0");
    // librdkafka and the TLS library look for these
    for name in ["PATH", "HOME", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    entrepot(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Runs it and expects this code and one line on standard error.
pub(crate) fn refused(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let complaint = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.starts_with("entrepot: "), "{complaint}");
    complaint
}

/// A platform that runs until dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) line: String,
}

/// Serves a data directory on free ports.
pub(crate) fn serve(data: &Path) -> Served {
    serve_with(data, &[])
}

/// The same with other settings, `section.key=value`.
pub(crate) fn serve_with(data: &Path, settings: &[&str]) -> Served {
    let data = data.display().to_string();
    let mut arguments = vec!["serve", "--data", &data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for setting in ["log.filter=warn"].iter().chain(settings) {
        arguments.extend(["--set", setting]);
    }
    let mut child = entrepot(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let out = child.stdout.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut out = BufReader::new(out);
        let mut line = String::new();
        let _ = out.read_line(&mut line);
        let _ = sender.send(line);
        // keeps the pipe open
        let _ = out.read_to_string(&mut String::new());
    });
    let line = receiver.recv_timeout(Duration::from_mins(2)).unwrap().trim().to_owned();
    assert!(line.contains(" ready: gRPC http://127.0.0.1:"), "{line}");
    Served { child, line }
}

impl Served {
    /// The address after this word of the ready line.
    fn after(&self, word: &str) -> String {
        let at = self.line.find(word).unwrap() + word.len();
        self.line[at..].split([',', ' ']).next().unwrap().to_owned()
    }

    pub(crate) fn address(&self) -> String {
        self.after("gRPC http://")
    }

    pub(crate) fn admin(&self) -> String {
        self.after("admin http://")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and answers with the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
