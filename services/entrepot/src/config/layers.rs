//! Settings from several places, laid over the defaults one value at a time, so that each error names its key and
//! where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::{Config, Secret};
use crate::exit::{Class, Exit, Result};

/// What every setting in the environment begins with.
const PREFIX: &str = "ENTREPOT__";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A file.
    File(String),
    /// A variable of the environment.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "file {file}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// The values so far, and where each came from.
pub struct Layers {
    values: Table,
    sources: BTreeMap<String, Source>,
}

impl Layers {
    /// The defaults.
    pub fn new() -> Result<Self> {
        let values = Table::try_from(Config::default())
            .map_err(|error| Exit::other("the default settings cannot be written", &error))?;
        Ok(Self { values, sources: BTreeMap::new() })
    }

    /// Lays a TOML file over them.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Exit::usage(format!("the settings file {} cannot be read: {error}", path.display()))
        })?;
        self.text(&text, &path.display().to_string())
    }

    /// Lays the text of a TOML file over them.
    pub fn text(&mut self, text: &str, name: &str) -> Result<()> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| malformed(name, text, &error))?;
        let mut leaves = Vec::new();
        flatten("", &table, &mut leaves);
        for (path, value) in leaves {
            let source = Source::File(name.to_owned());
            let known = self.lookup(&path, &source)?;
            if known.type_str() != value.type_str() {
                return Err(mistyped(&path, &source, known, &value.to_string()));
            }
            self.put(&path, value, source);
        }
        Ok(())
    }

    /// Lays the environment over them: `ENTREPOT__SECTION__KEY`.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        for (name, text) in variables {
            if let Some(path) = name.strip_prefix(PREFIX) {
                let path = path.to_ascii_lowercase().replace("__", ".");
                self.set(&path, &text, Source::Environment(name))?;
            }
        }
        Ok(())
    }

    /// Lays one value over them, given as text.
    pub fn set(&mut self, path: &str, text: &str, source: Source) -> Result<()> {
        let known = self.lookup(path, &source)?;
        let parsed = match known {
            Value::String(_) => Some(Value::String(text.to_owned())),
            Value::Integer(_) => text.parse().ok().map(Value::Integer),
            Value::Float(_) => text.parse().ok().map(Value::Float),
            Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
            Value::Array(_) | Value::Table(_) | Value::Datetime(_) => None,
        };
        let value = parsed.ok_or_else(|| mistyped(path, &source, known, text))?;
        self.put(path, value, source);
        Ok(())
    }

    /// All of it as settings; files that hold secrets are read.
    pub fn finish(self) -> Result<(Config, Vec<Setting>)> {
        let mut config = serde_path_to_error::deserialize::<_, Config>(Value::Table(self.values.clone()))
            .map_err(|error| self.refused(&error))?;
        let secrets = [
            ("database.url", &mut config.database.url, &config.database.url_file),
            ("bus.password", &mut config.bus.password, &config.bus.password_file),
            (
                "secrets.pickup_code_key",
                &mut config.secrets.pickup_code_key,
                &config.secrets.pickup_code_key_file,
            ),
        ];
        for (path, secret, file) in secrets {
            read_secret(path, secret, file)?;
        }
        config.check()?;
        Ok((config, self.settings()))
    }

    /// Every setting with its value, fit to be shown.
    fn settings(&self) -> Vec<Setting> {
        let mut leaves = Vec::new();
        flatten("", &self.values, &mut leaves);
        let shown = |(path, value): (String, Value)| {
            let source = self.sources.get(&path).cloned().unwrap_or(Source::Default);
            let value = if is_secret(&path) {
                Value::String(Secret::new(value.as_str().unwrap_or_default()).shown())
            } else {
                value
            };
            Setting { path, value: value.to_string(), source }
        };
        let mut settings: Vec<Setting> = leaves.into_iter().map(shown).collect();
        // a section's own keys before its subsections
        settings.sort_by(|a, b| a.section().cmp(b.section()));
        settings
    }

    fn refused(&self, error: &serde_path_to_error::Error<toml::de::Error>) -> Exit {
        let (path, text) = (error.path().to_string(), error.inner().message());
        let source = self.sources.get(&path).unwrap_or(&Source::Default);
        // the only type whose refusal does not say what it wants
        let is_address = text.contains("socket address");
        let wanted = if is_address { "; expected IP:PORT, such as 127.0.0.1:7400" } else { "" };
        Exit::usage(format!("setting `{path}` ({source}): {text}{wanted}"))
    }

    fn lookup(&self, path: &str, source: &Source) -> Result<&Value> {
        let mut at: Option<&Value> = None;
        for part in path.split('.') {
            let table = match at {
                None => Some(&self.values),
                Some(value) => value.as_table(),
            };
            at = Some(table.and_then(|table| table.get(part)).ok_or_else(|| self.unknown(path, source))?);
        }
        at.ok_or_else(|| self.unknown(path, source))
    }

    fn unknown(&self, path: &str, source: &Source) -> Exit {
        let mut leaves = Vec::new();
        flatten("", &self.values, &mut leaves);
        let nearest = leaves.iter().map(|(known, _)| (strsim::levenshtein(path, known), known)).min();
        let hint = match nearest {
            Some((away, known)) if away <= 4 => format!("did you mean `{known}`?"),
            Some(_) | None => "`entrepot config` lists all settings".to_owned(),
        };
        Exit::new(Class::Usage, format!("unknown setting `{path}` ({source}); {hint}"))
    }

    fn put(&mut self, path: &str, value: Value, source: Source) {
        let mut table = &mut self.values;
        let mut parts = path.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                table.insert(part.to_owned(), value);
                self.sources.insert(path.to_owned(), source);
                return;
            }
            let Some(Value::Table(inner)) = table.get_mut(part) else {
                return;
            };
            table = inner;
        }
    }
}

/// One setting as `entrepot config` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `section.key`.
    pub path: String,
    /// Its value in TOML, secrets left out.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

impl Setting {
    /// All of the path but the key.
    pub fn section(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }
}

fn is_secret(path: &str) -> bool {
    let key = path.rsplit('.').next().unwrap_or(path);
    (path.starts_with("secrets.") && !key.ends_with("_file"))
        || key == "password"
        || (path.starts_with("database.") && (key == "url" || key.ends_with("_url")))
}

fn read_secret(path: &str, secret: &mut Secret, file: &Path) -> Result<()> {
    if file.as_os_str().is_empty() {
        return Ok(());
    }
    if !secret.is_empty() {
        return Err(Exit::usage(format!("set either `{path}` or `{path}_file`, not both")));
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| Exit::usage(format!("`{path}_file` {} cannot be read: {error}", file.display())))?;
    *secret = Secret::new(text.trim_end_matches(['\r', '\n']));
    if secret.is_empty() {
        return Err(Exit::usage(format!("`{path}_file` {} is empty", file.display())));
    }
    Ok(())
}

/// The line and what is wrong with it, but not the line itself: it may hold a secret.
fn malformed(name: &str, text: &str, error: &toml::de::Error) -> Exit {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map_or(1, |before| before.matches('\n').count() + 1);
    Exit::usage(format!("{name} line {line} is not valid TOML: {}", error.message()))
}

fn mistyped(path: &str, source: &Source, known: &Value, given: &str) -> Exit {
    let expected = match known {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
        Value::Datetime(_) => "a date",
    };
    let given = if is_secret(path) { "***" } else { given.trim() };
    Exit::usage(format!("setting `{path}` ({source}): expected {expected}, found {given}"))
}

/// All values of nested tables with their paths; an empty section of the file has none.
pub(super) fn flatten(prefix: &str, table: &Table, leaves: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&path, inner, leaves),
            leaf => leaves.push((path, leaf.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str, environment: &[(&str, &str)]) -> Result<(Config, Vec<Setting>)> {
        let mut layers = Layers::new()?;
        layers.text(file, "entrepot.toml")?;
        layers.environment(environment.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())))?;
        layers.finish()
    }

    fn refusal(file: &str, environment: &[(&str, &str)]) -> String {
        let exit = layers(file, environment).unwrap_err();
        assert_eq!(exit.class, Class::Usage);
        exit.message
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\nmax_in_flight = 7\n";
        let (config, settings) =
            layers(file, &[("ENTREPOT__SERVER__LISTEN", "127.0.0.1:2"), ("PATH", "x")]).unwrap();
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.server.max_in_flight, 7);
        let source = |path: &str| settings.iter().find(|s| s.path == path).unwrap().source.to_string();
        assert_eq!(source("server.listen"), "environment ENTREPOT__SERVER__LISTEN");
        assert_eq!(source("server.max_in_flight"), "file entrepot.toml");
        assert_eq!(source("server.max_connections"), "default");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_nearest() {
        assert_eq!(
            refusal("[server]\nlisten_on = \"x\"\n", &[]),
            "unknown setting `server.listen_on` (file entrepot.toml); did you mean `server.listen`?"
        );
        assert_eq!(
            refusal("", &[("ENTREPOT__SERVER__ALOW_NON_LOOPBACK", "true")]),
            "unknown setting `server.alow_non_loopback` (environment ENTREPOT__SERVER__ALOW_NON_LOOPBACK); \
             did you mean `server.allow_non_loopback`?"
        );
        assert!(refusal("[weather]\nsunny = true\n", &[]).contains("`entrepot config` lists all settings"));
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        assert_eq!(
            refusal("[server]\nmax_in_flight = \"many\"\n", &[]),
            "setting `server.max_in_flight` (file entrepot.toml): expected a whole number, found \"many\""
        );
        assert!(
            refusal("", &[("ENTREPOT__SERVER__ALLOW_NON_LOOPBACK", "yes")])
                .contains("expected true or false, found yes")
        );
        let nowhere = refusal("[server]\nlisten = \"nowhere\"\nmax_in_flight = 7\n", &[]);
        assert!(nowhere.starts_with("setting `server.listen` (file entrepot.toml): invalid"), "{nowhere}");
        assert!(nowhere.ends_with("expected IP:PORT, such as 127.0.0.1:7400"), "{nowhere}");
        let others = "[server]\nmax_in_flight = 7\n[admin]\nlisten = \"127.0.0.1:1\"\n";
        assert_eq!(
            refusal(others, &[("ENTREPOT__BUS__PARTITIONS", "-1")]),
            "setting `bus.partitions` (environment ENTREPOT__BUS__PARTITIONS): invalid value: integer `-1`, expected u32"
        );
        assert!(refusal("", &[("ENTREPOT__BUS__KIND", "rabbit")]).contains("setting `bus.kind`"));
        assert!(refusal("[server\n", &[]).contains("not valid TOML"));
    }

    #[test]
    fn a_malformed_line_is_named_and_not_shown() {
        let complaint = refusal("[secrets]\npickup_code_key = \"hunter2hunter2hunter2\nx = 1\n", &[]);
        assert!(complaint.starts_with("entrepot.toml line 2 is not valid TOML"), "{complaint}");
        assert!(!complaint.contains("hunter2"), "{complaint}");
    }

    #[test]
    fn a_password_of_digits_is_text() {
        let (config, _) =
            layers("", &[("ENTREPOT__BUS__PASSWORD", "123456"), ("ENTREPOT__BUS__USERNAME", "7")]).unwrap();
        assert_eq!(config.bus.password.reveal(), "123456");
        assert_eq!(config.bus.username, "7");
    }

    #[test]
    fn secrets_are_not_shown() {
        let environment = [
            ("ENTREPOT__BUS__PASSWORD", "hunter2"),
            ("ENTREPOT__BUS__USERNAME", "shop"),
            ("ENTREPOT__DATABASE__ALLOW_UNENCRYPTED", "true"),
            ("ENTREPOT__DATABASE__URL", "postgres://shop:hunter2@db/shop"),
            ("ENTREPOT__DATABASE__ORDERS_URL", "postgres://shop:hunter2@db/orders"),
            ("ENTREPOT__SECRETS__PICKUP_CODE_KEY", "hunter2hunter2hunter2"),
        ];
        let (config, settings) = layers("", &environment).unwrap();
        let shown = format!("{config:?} {settings:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("postgres://shop:***@db/orders"), "{shown}");
    }

    #[test]
    fn a_secret_can_come_from_a_file_but_not_twice() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        std::fs::write(&file, "a key of twenty bytes\n").unwrap();
        let path = file.display().to_string();
        let (config, _) = layers("", &[("ENTREPOT__SECRETS__PICKUP_CODE_KEY_FILE", &path)]).unwrap();
        assert_eq!(config.secrets.pickup_code_key.reveal(), "a key of twenty bytes");
        let both = [
            ("ENTREPOT__SECRETS__PICKUP_CODE_KEY_FILE", path.as_str()),
            ("ENTREPOT__SECRETS__PICKUP_CODE_KEY", "x"),
        ];
        assert!(refusal("", &both).contains("not both"));
        assert!(refusal("", &[("ENTREPOT__DATABASE__URL_FILE", "/nowhere/url")]).contains("cannot be read"));
    }
}
