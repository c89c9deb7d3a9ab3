//! The data directory: who has it open, which clock its state was made by, and the keys made for it.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clock::Clock;
use jiff::Timestamp;

use crate::exit::{Class, Exit, Result};

const LOCK: &str = "entrepot.lock";
const CLOCK: &str = "clock";
const DATABASES: &str = "databases";
const PICKUP_CODE_KEY: &str = "pickup-code.key";

/// Which clock a directory's due times were made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockMode {
    /// The machine's.
    System,
    /// A virtual one, which stood here.
    Virtual {
        /// Where it stood last.
        now: Timestamp,
    },
}

/// A data directory that this process alone has open.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    lock: File,
}

/// Makes the directory if only its last part is missing, and takes its lock.
pub fn open(path: &Path) -> Result<Directory> {
    let path = make(path)?;
    let lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join(LOCK))
        .map_err(|error| {
            let hint =
                format!("{error}; give it to the user that runs entrepot, or name another place with --data");
            unusable(&path, &hint)
        })?;
    match lock.try_lock() {
        Ok(()) => Ok(Directory { path, lock }),
        Err(TryLockError::WouldBlock) => {
            let holder =
                holder(&path).map_or(String::new(), |holder| format!(" (process {})", holder.process));
            Err(unusable(
                &path,
                &format!("another entrepot has it open{holder}; stop that one, or use another --data"),
            ))
        }
        Err(TryLockError::Error(error)) => Err(unusable(&path, &error.to_string())),
    }
}

/// The absolute path of the directory, which is made if only its last part is missing.
pub fn make(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|error| unusable(path, &error.to_string()))?;
    if absolute.is_dir() {
        return Ok(absolute);
    }
    if absolute.exists() {
        return Err(unusable(&absolute, "it is a file; name a directory with --data"));
    }
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    if !parent.is_dir() {
        let why = if parent.ancestors().any(Path::is_file) {
            "lies below a file"
        } else {
            "does not exist; make it first"
        };
        let hint = format!("{} {why}, or name another place with --data", parent.display());
        return Err(unusable(&absolute, &hint));
    }
    std::fs::create_dir(&absolute)
        .and_then(|()| std::fs::set_permissions(&absolute, std::fs::Permissions::from_mode(0o700)))
        .map_err(|error| {
            let hint =
                format!("it cannot be made: {error}; name a place with --data where this user may write");
            unusable(&absolute, &hint)
        })?;
    Ok(absolute)
}

/// A process that has a directory open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub process: u32,
    /// Where it can be called, once it serves.
    pub address: Option<String>,
}

/// Who has the directory open, if anybody.
pub fn holder(path: &Path) -> Option<Holder> {
    let file = path.join(LOCK);
    let probe = File::options().read(true).write(true).open(&file).ok()?;
    if probe.try_lock().is_ok() {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    let mut words = text.split_whitespace();
    Some(Holder { process: words.next()?.parse().ok()?, address: words.next().map(ToOwned::to_owned) })
}

impl Directory {
    /// Where it is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes who has it open and where that one can be called.
    pub fn announce(&self, address: Option<&str>) -> Result<()> {
        let mut lock = &self.lock;
        let text = format!("{} {}\n", std::process::id(), address.unwrap_or_default());
        let written =
            lock.rewind().and_then(|()| lock.set_len(0)).and_then(|()| lock.write_all(text.as_bytes()));
        written.map_err(|error| unusable(&self.path, &error.to_string()))
    }

    /// The clock of its state; none while there is no state.
    pub fn clock(&self) -> Result<Option<ClockMode>> {
        read_clock(&self.path)
    }

    /// Remembers the clock of its state. A virtual clock is never moved back.
    pub fn record_clock(&self, mode: ClockMode) -> Result<()> {
        let (text, is_same) = match (mode, self.clock()?) {
            (ClockMode::System, known) => ("system".to_owned(), known == Some(ClockMode::System)),
            (ClockMode::Virtual { now }, Some(ClockMode::Virtual { now: known })) => {
                (format!("virtual {}", now.max(known)), now <= known)
            }
            (ClockMode::Virtual { now }, _) => (format!("virtual {now}"), false),
        };
        if is_same { Ok(()) } else { replace(&self.path, CLOCK, text.as_bytes()) }
    }

    /// Refuses state that is only half there.
    pub(crate) fn expect_whole(&self) -> Result<()> {
        if is_half_restored(&self.path) {
            return Err(unusable(&self.path, "a restore into it broke off; run `entrepot restore` again"));
        }
        Ok(())
    }

    /// Refuses `clock` if the directory's due times were made by one of the other kind; moves a virtual one to where
    /// the directory's stood.
    pub fn admit(&self, clock: &Clock) -> Result<()> {
        match (self.clock()?, clock.is_virtual()) {
            (Some(ClockMode::Virtual { now }), false) => Err(unusable(
                &self.path,
                &format!(
                    "its orders were played on a virtual clock that stands at {now}: on the machine's clock all of \
                     them would expire at once; go on with `entrepot replay`, or use another --data"
                ),
            )),
            (Some(ClockMode::System), true) => Err(made_in_real_time(&self.path)),
            (Some(ClockMode::Virtual { now }), true) => {
                clock.advance_to(now);
                Ok(())
            }
            (Some(ClockMode::System) | None, _) => Ok(()),
        }
    }
}

/// Refuses to open the database `file` of `service` where the directory remembers one and it is gone: an empty one in
/// its place would lose what it held without a word.
pub(crate) fn expect_database(path: &Path, service: &str, file: &Path) -> Result<()> {
    if file.exists() || !remembered_databases(path)?.iter().any(|known| known == service) {
        return Ok(());
    }
    let hint = format!(
        "the database of {service} was made here, but {} is gone; put it back, or restore a backup with `entrepot \
         restore` into a new --data; to begin with nothing, use a new --data",
        file.display()
    );
    Err(unusable(path, &hint))
}

/// Remembers that the database of `service` was made.
pub(crate) fn remember_database(path: &Path, service: &str) -> Result<()> {
    let mut known = remembered_databases(path)?;
    if known.iter().any(|name| name == service) {
        return Ok(());
    }
    known.push(service.to_owned());
    known.sort_unstable();
    replace(path, DATABASES, (known.join("\n") + "\n").as_bytes())
}

fn remembered_databases(path: &Path) -> Result<Vec<String>> {
    match std::fs::read_to_string(path.join(DATABASES)) {
        Ok(text) => {
            Ok(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unusable(path, &error.to_string())),
    }
}

/// What a file is called while it is restored.
pub(crate) fn staged(name: &str) -> String {
    format!("{name}.partial")
}

/// Whether a restore into this directory broke off.
pub(crate) fn is_half_restored(path: &Path) -> bool {
    let names = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_iter().any(|name| name.to_string_lossy().ends_with(".db.partial"))
}

/// The clock of the state in this directory; none while there is no state.
pub fn read_clock(path: &Path) -> Result<Option<ClockMode>> {
    let text = match std::fs::read_to_string(path.join(CLOCK)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(path, &error.to_string())),
    };
    let mode = match text.trim().split_once(' ') {
        None if text.trim() == "system" => Some(ClockMode::System),
        Some(("virtual", now)) => now.parse().ok().map(|now| ClockMode::Virtual { now }),
        Some(_) | None => None,
    };
    mode.map(Some).ok_or_else(|| unusable(path, "its file `clock` is damaged; restore it from a backup"))
}

/// A virtual clock for the state in this directory: it goes on where that one stood, or at `start` if that is later
/// or nothing is there yet.
pub fn virtual_clock(path: &Path, start: Timestamp) -> Result<Clock> {
    let path = make(path)?;
    match read_clock(&path)? {
        None => Ok(Clock::virtual_at(start)),
        Some(ClockMode::Virtual { now }) => Ok(Clock::virtual_at(now.max(start))),
        Some(ClockMode::System) => Err(made_in_real_time(&path)),
    }
}

/// Whether a key for pickup codes is kept in this directory.
pub(crate) fn has_pickup_code_key(path: &Path) -> bool {
    path.join(PICKUP_CODE_KEY).exists()
}

/// The key for pickup codes kept in this directory; made on the first call.
pub fn pickup_code_key(path: &Path) -> Result<String> {
    let file = path.join(PICKUP_CODE_KEY);
    match std::fs::read_to_string(&file) {
        Ok(key) if key.trim().len() >= 32 => return Ok(key.trim().to_owned()),
        Ok(_) => {
            return Err(unusable(path, "its file `pickup-code.key` is damaged; restore it from a backup"));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(path, &error.to_string())),
    }
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| unusable(path, &format!("no key could be drawn: {error}")))?;
    let key = bytes.iter().fold(String::new(), |mut key, byte| {
        key.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
        key.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
        key
    });
    replace(path, PICKUP_CODE_KEY, key.as_bytes())?;
    Ok(key)
}

/// Writes a file as a whole or not at all.
fn replace(directory: &Path, name: &str, content: &[u8]) -> Result<()> {
    let staged = directory.join(format!("{name}.new"));
    let written = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&staged, directory.join(name)))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|error| unusable(directory, &error.to_string()))
}

fn made_in_real_time(path: &Path) -> Exit {
    unusable(path, "its orders were made in real time; use another --data for a virtual clock")
}

fn unusable(path: &Path, why: &str) -> Exit {
    Exit::new(Class::Directory, format!("data directory {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_directory_is_open_once_and_tells_by_whom() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let open_here = open(&path).unwrap();
        open_here.announce(Some("http://127.0.0.1:7400")).unwrap();
        let refused = open(&path).unwrap_err();
        assert_eq!(refused.class, Class::Directory);
        assert!(refused.message.contains("another entrepot has it open (process"), "{refused}");
        let holder = holder(&path).unwrap();
        assert_eq!(holder.address.as_deref(), Some("http://127.0.0.1:7400"));
        drop(open_here);
        assert!(super::holder(&path).is_none());
        assert!(open(&path).is_ok());
    }

    #[test]
    fn only_the_last_part_of_a_path_is_made() {
        let home = tempfile::tempdir().unwrap();
        let refused = open(&home.path().join("no/such/place")).unwrap_err();
        assert_eq!(refused.class, Class::Directory);
        assert!(refused.message.contains("make it first"), "{refused}");
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(open(&file).unwrap_err().message.contains("it is a file"));
    }

    #[test]
    fn a_virtual_clock_is_never_recorded_backwards() {
        let home = tempfile::tempdir().unwrap();
        let directory = open(home.path()).unwrap();
        assert_eq!(directory.clock().unwrap(), None);
        let later = ClockMode::Virtual { now: at("2011-12-02T00:00:00Z") };
        directory.record_clock(later).unwrap();
        directory.record_clock(ClockMode::Virtual { now: at("2011-12-01T00:00:00Z") }).unwrap();
        assert_eq!(directory.clock().unwrap(), Some(later));
        let clock = Clock::virtual_at(at("2011-12-01T00:00:00Z"));
        directory.admit(&clock).unwrap();
        assert_eq!(clock.business(), at("2011-12-02T00:00:00Z"));
    }

    #[test]
    fn a_directory_of_one_clock_is_not_opened_by_the_other() {
        let home = tempfile::tempdir().unwrap();
        let directory = open(home.path()).unwrap();
        directory.record_clock(ClockMode::Virtual { now: at("2011-12-02T00:00:00Z") }).unwrap();
        let refused = directory.admit(&Clock::system()).unwrap_err();
        assert!(refused.message.contains("virtual clock that stands at 2011-12-02T00:00:00Z"), "{refused}");
        directory.record_clock(ClockMode::System).unwrap();
        assert!(directory.admit(&Clock::virtual_at(Timestamp::UNIX_EPOCH)).is_err());
        assert!(directory.admit(&Clock::system()).is_ok());
    }

    #[test]
    fn a_database_that_was_removed_is_not_made_again() {
        let home = tempfile::tempdir().unwrap();
        let orders = home.path().join("orders.db");
        expect_database(home.path(), "orders", &orders).unwrap();
        std::fs::write(&orders, "rows").unwrap();
        remember_database(home.path(), "orders").unwrap();
        remember_database(home.path(), "inventory").unwrap();
        remember_database(home.path(), "orders").unwrap();
        expect_database(home.path(), "orders", &orders).unwrap();
        std::fs::remove_file(&orders).unwrap();
        let refused = expect_database(home.path(), "orders", &orders).unwrap_err();
        assert_eq!(refused.class, Class::Directory);
        assert!(refused.message.contains("orders.db is gone; put it back"), "{refused}");
        expect_database(home.path(), "fulfillment", &home.path().join("fulfillment.db")).unwrap();
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let home = tempfile::tempdir().unwrap();
        let key = pickup_code_key(home.path()).unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(pickup_code_key(home.path()).unwrap(), key);
        let mode = std::fs::metadata(home.path().join("pickup-code.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(home.path().join("pickup-code.key"), "").unwrap();
        assert!(pickup_code_key(home.path()).unwrap_err().message.contains("damaged"));
    }
}
