//! Settings that are well formed but cannot work, said before anything starts.

use std::net::SocketAddr;

use super::{BusKind, Config, Service};
use crate::exit::{Exit, Result};

impl Config {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<()> {
        self.check_services()?;
        self.check_limits()?;
        self.check_address("server.listen", self.server.listen)?;
        if self.admin.enabled {
            self.check_address("admin.listen", self.admin.listen)?;
        }
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

    fn check_limits(&self) -> Result<()> {
        let positive = [
            ("database.max_connections", u64::from(self.database.max_connections)),
            ("database.acquire_timeout_ms", self.database.acquire_timeout_ms),
            ("database.statement_timeout_ms", self.database.statement_timeout_ms),
            ("bus.partitions", u64::from(self.bus.partitions)),
            ("bus.replication", u64::from(self.bus.replication)),
            ("bus.events_days", u64::from(self.bus.events_days)),
            ("bus.inbox_hours", u64::from(self.bus.inbox_hours)),
            ("bus.lease_ms", u64::from(self.bus.lease_ms)),
            ("server.default_deadline_ms", self.server.default_deadline_ms),
            ("server.max_deadline_ms", self.server.max_deadline_ms),
            ("server.max_in_flight", self.server.max_in_flight as u64),
            ("server.max_open_streams", self.server.max_open_streams as u64),
            ("server.max_connections", self.server.max_connections as u64),
            ("server.max_streams_per_connection", u64::from(self.server.max_streams_per_connection)),
            ("server.keepalive_interval_s", self.server.keepalive_interval_s),
            ("server.keepalive_timeout_s", self.server.keepalive_timeout_s),
            ("server.max_connection_age_s", self.server.max_connection_age_s),
            ("runtime.blocking_threads", self.runtime.blocking_threads as u64),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((path, _)) => Err(Exit::usage(format!("setting `{path}` must be 1 or more"))),
            None => Ok(()),
        }
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

    fn check_bus(&self) -> Result<()> {
        let running = self.services();
        if self.bus.kind == BusKind::Local && running.len() < Service::ALL.len() {
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
        let asks = [
            (Service::Fulfillment, Service::Inventory, &self.peers.inventory),
            (Service::Orders, Service::Fulfillment, &self.peers.fulfillment),
        ];
        for (asking, asked, address) in asks {
            if self.runs(asking) && !self.runs(asked) && address.is_empty() {
                return Err(Exit::usage(format!(
                    "{} asks {}, which does not run here; set peers.{} = \"http://host:port\"",
                    asking.name(),
                    asked.name(),
                    asked.name()
                )));
            }
        }
        for (name, address) in [
            ("inventory", &self.peers.inventory),
            ("fulfillment", &self.peers.fulfillment),
            ("orders", &self.peers.orders),
        ] {
            if !address.is_empty() && !address.starts_with("http://") {
                return Err(Exit::usage(format!(
                    "setting `peers.{name}`: `{address}` is no address; expected http://host:port"
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
    fn a_limit_of_nothing_is_refused() {
        assert_eq!(
            refusal(|config| config.server.max_in_flight = 0),
            "setting `server.max_in_flight` must be 1 or more"
        );
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(refusal(|config| config.secrets.pickup_code_key = "short".into()).contains("16 characters"));
    }
}
