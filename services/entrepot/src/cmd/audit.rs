//! `entrepot audit`: the laws of stock, recomputed from the ledger.

use clock::Clock;
use contract::inventory::v1::inventory_service_client::InventoryServiceClient;
use contract::inventory::v1::{AuditRequest, AuditResponse};
use server::{Peer, Principal, peer};

use super::{Place, say};
use crate::compose;
use crate::config::Config;
use crate::data;
use crate::exit::{Class, Exit, Result};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The platform to ask, `http://host:port`; without it the one that has the data directory open, else the
    /// databases themselves.
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, config: &Config) -> Result<()> {
    let running = data::holder(&config.data.directory).and_then(|holder| holder.address);
    let address = args.address.or(running.filter(|_| config.uses_files()));
    let peer = match &address {
        Some(address) => peer::remote(address).map_err(|error| Exit::usage(error.to_string()))?,
        None => offline(config).await?,
    };
    let answer = ask(peer).await?;
    if args.json {
        json(&answer);
    } else {
        table(&answer);
    }
    if answer.ok {
        Ok(())
    } else {
        let broken: Vec<&str> =
            answer.laws.iter().filter(|law| !law.ok).map(|law| law.law.as_str()).collect();
        Err(Exit::new(Class::Other, format!("broken laws: {}", broken.join(", "))))
    }
}

async fn ask(peer: Peer) -> Result<AuditResponse> {
    let mut request = tonic::Request::new(AuditRequest {});
    // a large ledger takes its time
    request.set_timeout(std::time::Duration::from_mins(1));
    let peer = peer::acting(peer, &Principal::new(server::auth::kind::OPS, "cli"));
    let answer = InventoryServiceClient::new(peer).audit(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| Exit::from_status(&status))
}

/// Inventory alone on its database, with no timers and no bus: it looks and changes nothing.
async fn offline(config: &Config) -> Result<Peer> {
    if config.uses_files() && !config.sqlite_file(crate::config::Service::Inventory).exists() {
        let path = config.data.directory.display();
        return Err(Exit::new(
            Class::Directory,
            format!("data directory {path} has no inventory.db; name another --data"),
        ));
    }
    compose::inventory_alone(config, &Clock::system()).await
}

fn table(answer: &AuditResponse) {
    for law in &answer.laws {
        let mark = if law.ok { "OK    " } else { "BROKEN" };
        say(&format!("{mark} {} - {}", law.law, law.description));
        if !law.ok {
            say(&format!("       {} rows, the first: {}", law.broken, law.first));
        }
    }
    say(&format!(
        "{} positions, {} reservations, {} ledger rows; {} positions claim more than is on hand",
        answer.positions, answer.reservations, answer.movements, answer.overclaimed
    ));
}

fn json(answer: &AuditResponse) {
    let laws: Vec<_> = answer
        .laws
        .iter()
        .map(
            |law| serde_json::json!({"law": law.law, "ok": law.ok, "broken": law.broken, "first": law.first}),
        )
        .collect();
    let object = serde_json::json!({
        "ok": answer.ok,
        "laws": laws,
        "positions": answer.positions,
        "reservations": answer.reservations,
        "movements": answer.movements,
        "overclaimed": answer.overclaimed,
    });
    say(&object.to_string());
}
