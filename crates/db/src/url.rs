//! What a database URL may say, checked before the driver reads it.
//!
//! The driver logs a parameter that it does not know together with its value, which may be a misspelled password; and
//! it falls back to an unencrypted connection without a word. Both are errors here. No error holds a value of the URL
//! but the name of the host.

use std::net::IpAddr;
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The parameters that the driver knows.
const PARAMETERS: [&str; 17] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// Why a URL is refused. The texts continue a sentence that names the setting: "setting `database.url` ..".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `sqlite://` nor `postgres://`, or not a URL.
    #[error("is not a database URL; expected postgres://user:password@host:port/database")]
    Malformed,
    /// A parameter after the `?` that means nothing to PostgreSQL.
    #[error("has the unknown parameter `{name}`; known parameters are {}", PARAMETERS.join(", "))]
    UnknownParameter {
        /// Its name.
        name: String,
    },
    /// TLS is asked for, and this build has none for PostgreSQL.
    #[error(
        "asks for sslmode={mode}, but this version has no TLS to PostgreSQL; use a server or a TLS tunnel on this \
         machine, or set sslmode=disable and database.allow_unencrypted = true"
    )]
    NoTls {
        /// The mode that was asked for.
        mode: &'static str,
    },
    /// The password and all data would cross a network as plain text.
    #[error(
        "would send the password and all data to {host} unencrypted (sslmode={mode}); use a server or a TLS tunnel on \
         this machine, or set database.allow_unencrypted = true where the network is trusted"
    )]
    Unencrypted {
        /// The host.
        host: String,
        /// The mode in force.
        mode: &'static str,
    },
}

/// Refuses a URL that cannot be opened safely. `allow_unencrypted` lets a PostgreSQL connection leave this machine.
pub fn check(url: &str, allow_unencrypted: bool) -> Result<(), UrlError> {
    if url.starts_with("sqlite://") {
        return Ok(());
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(UrlError::Malformed);
    }
    let parsed = url::Url::parse(url).map_err(|_| UrlError::Malformed)?;
    let unknown = parsed.query_pairs().map(|(name, _)| name).find(|name| !is_known(name));
    if let Some(name) = unknown {
        return Err(UrlError::UnknownParameter { name: name.into_owned() });
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| UrlError::Malformed)?;
    let mode = options.get_ssl_mode();
    match mode {
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => {
            Err(UrlError::NoTls { mode: mode_name(mode) })
        }
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => {
            let stays_here = options.get_socket().is_some() || is_this_machine(options.get_host());
            if allow_unencrypted || stays_here {
                Ok(())
            } else {
                Err(UrlError::Unencrypted { host: options.get_host().to_owned(), mode: mode_name(mode) })
            }
        }
    }
}

fn is_known(name: &str) -> bool {
    PARAMETERS.contains(&name)
        || name == "ssl-root-cert"
        || (name.starts_with("options[") && name.ends_with(']'))
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|ip| ip.is_loopback())
}

fn mode_name(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_parameter_is_named_without_its_value() {
        let error = check("postgres://shop@127.0.0.1/shop?pasword=hunter2", false).unwrap_err();
        assert_eq!(error, UrlError::UnknownParameter { name: "pasword".to_owned() });
        let text = error.to_string();
        assert!(
            text.contains("`pasword`") && text.contains("password") && !text.contains("hunter2"),
            "{text}"
        );
        for known in PARAMETERS {
            let value = if known == "sslmode" || known == "ssl-mode" { "prefer" } else { "127" };
            let value = if known == "host" || known == "hostaddr" { "127.0.0.1" } else { value };
            let url = format!("postgres://shop@localhost/shop?{known}={value}");
            assert_eq!(check(&url, false), Ok(()), "{known}");
        }
        assert_eq!(check("postgres://localhost/shop?options[work_mem]=1MB", false), Ok(()));
    }

    #[test]
    fn an_unencrypted_connection_to_another_machine_needs_the_setting() {
        for url in [
            "postgres://shop:hunter2@db.example/shop",
            "postgres://shop:hunter2@db.example/shop?sslmode=prefer",
            "postgres://shop:hunter2@db.example/shop?sslmode=allow",
            "postgresql://shop:hunter2@10.0.0.7/shop?sslmode=disable",
            "postgres://shop:hunter2@localhost/shop?host=10.0.0.7",
            "postgres://shop:hunter2@127.0.0.1/shop?hostaddr=10.0.0.7",
        ] {
            let error = check(url, false).unwrap_err();
            assert!(matches!(error, UrlError::Unencrypted { .. }), "{url}: {error}");
            let text = error.to_string();
            assert!(text.contains("database.allow_unencrypted") && !text.contains("hunter2"), "{text}");
            assert_eq!(check(url, true), Ok(()), "{url}");
        }
        for url in [
            "postgres://shop@127.0.0.1:5432/shop",
            "postgres://shop@[::1]/shop",
            "postgres://shop@LOCALHOST/shop?sslmode=disable",
            "postgres://shop@%2Fvar%2Frun%2Fpostgresql/shop",
            "postgres://shop@db.example/shop?host=/var/run/postgresql",
            "sqlite:///var/lib/entrepot/orders.db",
        ] {
            assert_eq!(check(url, false), Ok(()), "{url}");
        }
    }

    #[test]
    fn tls_that_cannot_be_had_is_refused_and_never_replaced() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let error = check(&format!("postgres://db.example/shop?sslmode={mode}"), true).unwrap_err();
            assert_eq!(error, UrlError::NoTls { mode });
        }
    }

    #[test]
    fn what_is_not_a_url_is_refused() {
        for url in ["", "db:5432/shop", "mysql://db/shop", "postgres://shop:hunter2@[::/shop"] {
            assert_eq!(check(url, true), Err(UrlError::Malformed), "{url}");
        }
    }
}
