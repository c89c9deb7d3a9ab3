//! Settings that are well formed but cannot work, said before anything starts.

use std::net::SocketAddr;

use db::url::UrlError;
use domain::stock::reservation::LONGEST_HOLD;
use toml::{Table, Value};

use super::layers::flatten;
use super::{BusKind, Config, Service};
use crate::exit::{Exit, Result};

/// Numbers that may be 0, by the beginning of their path.
const MAY_BE_ZERO: [&str; 15] = [
    "admin.max_outbox_age_s",
    "database.slow_statement_ms",
    "fulfillment.sourcing.",
    "fulfillment.clocks.first_reminder_s",
    "fulfillment.clocks.min_open_s",
    "fulfillment.clocks.second_reminder_s",
    "fulfillment.limits.",
    "orders.need_answer_s",
    "orders.payment_grace_s",
    "runtime.worker_threads",
    "server.drain_limit_s",
    "server.max_connection_age_grace_s",
    "server.max_reads_per_connection",
    "server.shutdown_grace_ms",
    "timers.most_at_once",
];

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<()> {
        self.check_services()?;
        self.check_numbers()?;
        self.check_fit()?;
        self.check_address("server.listen", self.server.listen)?;
        if self.admin.enabled {
            self.check_address("admin.listen", self.admin.listen)?;
        }
        self.check_hosts()?;
        self.check_databases()?;
        self.check_bus()?;
        self.check_peers()?;
        if !self.drill.crash_at.is_empty() && (self.drill.parse().is_none() || !cfg!(debug_assertions)) {
            return Err(Exit::usage("setting `drill.crash_at` must be place/n, in a debug build"));
        }
        let key = self.secrets.pickup_code_key.reveal();
        if !key.is_empty() && key.len() < 16 {
            return Err(Exit::usage("setting `secrets.pickup_code_key` is shorter than 16 characters"));
        }
        Ok(())
    }

    fn check_services(&self) -> Result<()> {
        let known = Service::ALL.map(Service::name).join(",");
        for name in self.platform.services.split(',').map(str::trim) {
            if Service::parse(name).is_none() {
                return Err(Exit::usage(format!(
                    "setting `platform.services`: there is no service `{name}`; known are {known}"
                )));
            }
        }
        Ok(())
    }

    /// A number of nothing or less makes no sense anywhere but where [`MAY_BE_ZERO`] says so.
    fn check_numbers(&self) -> Result<()> {
        let values =
            Table::try_from(self).map_err(|error| Exit::other("the settings cannot be written", &error))?;
        let mut leaves = Vec::new();
        flatten("", &values, &mut leaves);
        for (path, value) in leaves {
            let Value::Integer(number) = value else { continue };
            let least = i64::from(!MAY_BE_ZERO.iter().any(|known| path.starts_with(known)));
            if number < least {
                return Err(Exit::usage(format!("setting `{path}` is {number}; it must be {least} or more")));
            }
        }
        Ok(())
    }

    /// Numbers that must fit each other.
    fn check_fit(&self) -> Result<()> {
        let chars = self.fulfillment.work.pickup_code_chars;
        if !(8..=32).contains(&chars) {
            let text = format!("setting `fulfillment.work.pickup_code_chars` is {chars}; it must be 8 to 32");
            return Err(Exit::usage(text));
        }
        let lines = self.orders.max_lines;
        if lines > orders::MOST_LINES {
            let most = orders::MOST_LINES;
            let text = format!("setting `orders.max_lines` is {lines}; an order has at most {most} lines");
            return Err(Exit::usage(text));
        }
        self.fulfillment.clocks.check().map_err(|why| Exit::usage(format!("setting {why}")))?;
        let (least, most) = (self.fulfillment.hold_default_s, self.fulfillment.hold_most_s);
        if least > most {
            let text = format!(
                "setting `fulfillment.hold_default_s` is {least}, more than `fulfillment.hold_most_s`, {most}; \
                 lower the one or raise the other"
            );
            return Err(Exit::usage(text));
        }
        let (possible, margin) = (LONGEST_HOLD.as_secs(), self.fulfillment.stock_margin_s);
        let holds = [("hold_most_s", most), ("hold_service_most_s", self.fulfillment.hold_service_most_s)];
        if let Some((name, held)) = holds.into_iter().find(|(_, held)| held.saturating_add(margin) > possible)
        {
            let text = format!(
                "setting `fulfillment.{name}` is {held}; with `fulfillment.stock_margin_s`, {margin}, that is longer than \
                 the {possible} s for which stock can be held; lower one of them"
            );
            return Err(Exit::usage(text));
        }
        let needed = i64::from(self.orders.payment_s.max(self.orders.hold_s))
            + 2 * i64::from(self.orders.hold_margin_s);
        let granted = self.fulfillment.hold_service_most_s;
        if needed > granted {
            let text = format!(
                "orders holds stock for {needed} s (orders.payment_s or hold_s, and twice hold_margin_s), but \
                 `fulfillment.hold_service_most_s` is {granted}; raise it"
            );
            return Err(Exit::usage(text));
        }
        Ok(())
    }

    fn check_address(&self, path: &str, address: SocketAddr) -> Result<()> {
        if address.ip().is_loopback() || self.server.allow_non_loopback {
            return Ok(());
        }
        Err(Exit::usage(format!(
            "setting `{path}` = {address} can be reached from other machines, and callers are believed who they say \
             they are; use 127.0.0.1, or put a proxy before it and set server.allow_non_loopback = true"
        )))
    }

    fn check_hosts(&self) -> Result<()> {
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let names = self.server.hosts.split(',').map(str::trim);
        match names.into_iter().find(|name| !is_name(name.strip_prefix('*').unwrap_or(name))) {
            None => Ok(()),
            Some(odd) => Err(Exit::usage(format!(
                "setting `server.hosts`: `{odd}` is not a host; expected names without a port, such as orders.example.com, \
                 *.example.com or *"
            ))),
        }
    }

    fn check_databases(&self) -> Result<()> {
        let database = &self.database;
        let own = Service::ALL.map(|service| (format!("{}_url", service.name()), database.own_url(service)));
        for (path, url) in [("url".to_owned(), &database.url)].into_iter().chain(own) {
            if url.is_empty() {
                continue;
            }
            db::url::check(url.reveal(), database.allow_unencrypted).map_err(|error| {
                let files = match error {
                    UrlError::Malformed => ", or nothing for SQLite files in the data directory",
                    UrlError::UnknownParameter { .. }
                    | UrlError::NoTls { .. }
                    | UrlError::Unencrypted { .. } => "",
                };
                Exit::usage(format!("setting `database.{path}` {error}{files}"))
            })?;
        }
        Ok(())
    }

    fn check_bus(&self) -> Result<()> {
        let running = self.services();
        if self.bus.kind == BusKind::Local && running.len() < Service::ALL.len() && !self.platform.alone {
            let names: Vec<&str> = running.iter().map(|service| service.name()).collect();
            return Err(Exit::usage(format!(
                "services {} run apart from the others, but the local bus stays in one process; set bus.kind = \"kafka\" \
                 and bus.brokers, or run all services together",
                names.join(",")
            )));
        }
        if self.bus.kind == BusKind::Kafka && !cfg!(feature = "kafka") {
            return Err(Exit::usage(
                "this build has no Kafka; build it with the feature `kafka`, or set bus.kind = \"local\"",
            ));
        }
        if self.bus.kind == BusKind::Kafka && self.bus.brokers.trim().is_empty() {
            return Err(Exit::usage("setting `bus.brokers` is empty; expected host:port of a Kafka broker"));
        }
        let prefix = &self.bus.prefix;
        if prefix.len() > 128 || !prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
            return Err(Exit::usage(format!(
                "setting `bus.prefix` is `{prefix}`; names of topics are made of A-Z a-z 0-9 . _ -, and a prefix has at \
                 most 128 of them"
            )));
        }
        if !["classic", "consumer"].contains(&self.bus.group_protocol.as_str()) {
            return Err(Exit::usage("setting `bus.group_protocol` must be `classic` or `consumer`"));
        }
        if self.bus.tls && !cfg!(feature = "ssl") {
            return Err(Exit::usage(
                "this build speaks no TLS with Kafka; build it with the feature `ssl`, or set bus.tls = false",
            ));
        }
        Ok(())
    }

    fn check_peers(&self) -> Result<()> {
        for asking in self.services() {
            for asked in asking.about().asks.iter().filter_map(|name| Service::parse(name)) {
                if !self.runs(asked) && self.peers.address(asked).is_empty() {
                    return Err(Exit::usage(format!(
                        "{} asks {}, which does not run here; set peers.{} = \"http://host:port\"",
                        asking.name(),
                        asked.name(),
                        asked.name()
                    )));
                }
            }
        }
        for (name, address) in Service::ALL.map(|service| (service.name(), self.peers.address(service))) {
            if !address.is_empty() && !address.starts_with("http://") {
                return Err(Exit::usage(format!(
                    "setting `peers.{name}`: `{address}` is not an address; expected http://host:port"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().unwrap_err().message
    }

    #[test]
    fn the_defaults_can_work() {
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn an_address_for_strangers_needs_a_word() {
        let open = |config: &mut Config| config.server.listen = "0.0.0.0:7400".parse().unwrap();
        assert!(refusal(open).contains("server.allow_non_loopback = true"));
        let mut config = Config::default();
        open(&mut config);
        config.server.allow_non_loopback = true;
        assert!(config.check().is_ok());
        assert!(refusal(|config| config.admin.listen = "[::]:1".parse().unwrap()).contains("admin.listen"));
    }

    #[test]
    fn a_service_apart_needs_a_bus_and_its_peers() {
        let apart = |config: &mut Config| config.platform.services = "orders".to_owned();
        assert!(refusal(apart).starts_with("services orders run apart from the others"));
        let text = refusal(|config| {
            apart(config);
            config.bus.kind = BusKind::Kafka;
        });
        assert_eq!(
            text,
            "orders asks fulfillment, which does not run here; set peers.fulfillment = \"http://host:port\""
        );
        assert!(
            refusal(|config| config.platform.services = "orders,weather".to_owned())
                .contains("no service `weather`")
        );
        assert!(
            refusal(|config| config.peers.orders = "orders:7400".to_owned())
                .contains("expected http://host:port")
        );
    }

    #[test]
    fn a_number_of_nothing_is_refused_in_every_section() {
        assert_eq!(
            refusal(|config| config.server.max_in_flight = 0),
            "setting `server.max_in_flight` is 0; it must be 1 or more"
        );
        assert!(
            refusal(|config| config.fulfillment.hold_batch = 0).contains("`fulfillment.hold_batch` is 0")
        );
        assert!(refusal(|config| config.fulfillment.stock_margin_s = -600).contains("is -600"));
        assert!(refusal(|config| config.orders.hold_margin_s = 0).contains("`orders.hold_margin_s`"));
        assert!(refusal(|config| config.inventory.queue = 0).contains("`inventory.queue`"));
        let mut config = Config::default();
        config.fulfillment.sourcing.per_km = 0;
        config.fulfillment.clocks.min_open_s = 0;
        config.fulfillment.limits.customer_tokens = 0;
        assert!(config.check().is_ok());
        assert!(refusal(|config| config.fulfillment.sourcing.per_km = -1).contains("must be 0 or more"));
    }

    #[test]
    fn numbers_that_do_not_fit_each_other_are_refused() {
        assert!(refusal(|config| config.fulfillment.work.pickup_code_chars = 6).contains("must be 8 to 32"));
        assert!(
            refusal(|config| config.fulfillment.clocks.keep_s = 60).contains("before the keep time ends")
        );
        assert!(
            refusal(|config| config.fulfillment.clocks.min_open_s = 604_801)
                .contains("`fulfillment.clocks.min_open_s` must be from 0 s to 7 days")
        );
        assert!(
            refusal(|config| config.fulfillment.hold_most_s = 60).contains("`fulfillment.hold_default_s`")
        );
        assert!(refusal(|config| config.fulfillment.hold_service_most_s = 600).contains("raise it"));
        let week = |config: &mut Config| config.fulfillment.hold_service_most_s = 7 * 24 * 3_600;
        assert!(refusal(week).contains("`fulfillment.hold_service_most_s` is 604800; with"));
        assert!(refusal(|config| config.fulfillment.stock_margin_s = 86_401).contains("lower one of them"));
    }

    #[test]
    fn what_is_no_database_and_no_name_of_a_topic_is_refused() {
        let text = refusal(|config| config.database.url = "mysql://a:hunter2@db/shop".into());
        assert!(text.starts_with("setting `database.url` is not a database URL; expected postgres://"));
        assert!(!text.contains("hunter2"), "{text}");
        let text = refusal(|config| config.database.orders_url = "db:5432/shop".into());
        assert!(text.starts_with("setting `database.orders_url`"), "{text}");
        assert!(refusal(|config| config.bus.prefix = "my shop.".to_owned()).contains("is `my shop.`; names"));
        assert!(refusal(|config| config.bus.prefix = "x".repeat(129)).contains("at most 128"));
        let text = refusal(|config| config.database.url = "postgres://db/shop?pasword=hunter2".into());
        assert!(text.contains("unknown parameter `pasword`") && !text.contains("hunter2"), "{text}");
        let text = refusal(|config| config.database.url = "postgres://db/shop".into());
        assert!(text.contains("to db unencrypted (sslmode=prefer)"), "{text}");
        let mut config = Config::default();
        config.database.url = "postgres://db/shop".into();
        config.database.allow_unencrypted = true;
        config.bus.prefix = "shop-1_a.".to_owned();
        assert!(config.check().is_ok());
    }

    #[test]
    fn hosts_are_names_without_ports() {
        assert!(refusal(|config| config.server.hosts = "orders:7400".to_owned()).contains("`orders:7400`"));
        assert!(refusal(|config| config.server.hosts = "a,http://b".to_owned()).contains("`http://b`"));
        let mut config = Config::default();
        config.server.hosts = "orders, *.example.com,*".to_owned();
        assert!(config.check().is_ok());
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(refusal(|config| config.secrets.pickup_code_key = "short".into()).contains("16 characters"));
    }
}
