//! `entrepot errors`: every reason that a call can be refused with.

use server::Reason;
use server::reason::code_name;

use super::say;
use crate::config::Service;
use crate::exit::Result;

/// The reasons by error domain, in the order of the list.
fn all() -> impl Iterator<Item = (&'static str, &'static [Reason])> {
    let of_all = [(server::status::DOMAIN, server::reason::ALL), ("every service", service::reason::ALL)];
    let of_one = |service: Service| (service.about().domain, service.about().reasons);
    of_all.into_iter().chain(Service::ALL.into_iter().map(of_one))
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct Args {
    /// As JSON, one object per line.
    #[arg(long)]
    json: bool,
    /// As `proto/ERRORS.md`.
    #[arg(long)]
    markdown: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "commands answer alike")]
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.markdown {
        markdown();
        return Ok(());
    }
    for (domain, reasons) in all() {
        for reason in reasons {
            if args.json { json(domain, reason) } else { lines(domain, reason) }
        }
    }
    Ok(())
}

fn lines(domain: &str, reason: &Reason) {
    let Reason { name, code, retry, when, action } = reason;
    say(&format!("{name} ({}, {domain})", code_name(*code)));
    say(&format!("  when:  {when}"));
    say(&format!("  do:    {action}"));
    say(&format!("  retry: {retry}"));
}

fn json(domain: &str, reason: &Reason) {
    let Reason { name, code, retry, when, action } = reason;
    let object = serde_json::json!({
        "domain": domain,
        "reason": name,
        "code": code_name(*code),
        "when": when,
        "do": action,
        "retry": retry.to_string(),
    });
    say(&object.to_string());
}

fn markdown() {
    say("# Errors\n");
    say(
        "Written by `entrepot errors --markdown` from the reasons that the services declare; a test compares it.\n",
    );
    say(
        "Every error carries `google.rpc.ErrorInfo`: `reason` and `domain` as below, and facts in `metadata`. Programs go",
    );
    say(
        "by the reason; messages are for people and change. `BadRequest` names every bad field, `RetryInfo` says when to",
    );
    say("send a call again. Send it with the same `request_id`: it takes effect once.");
    for (domain, reasons) in all() {
        say(&format!("\n## {domain}\n"));
        say("| reason | code | when | what to do | retry |");
        say("| --- | --- | --- | --- | --- |");
        for Reason { name, code, retry, when, action } in reasons {
            say(&format!("| `{name}` | `{}` | {when} | {action} | {retry} |", code_name(*code)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_reason_means_the_same_wherever_it_is_declared() {
        let mut known: HashMap<&str, &Reason> = HashMap::new();
        for (domain, reasons) in all() {
            let mut names: Vec<&str> = reasons.iter().map(|reason| reason.name).collect();
            names.dedup();
            assert_eq!(names.len(), reasons.len(), "{domain} declares a reason twice");
            for reason in reasons {
                let is_code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
                assert!(reason.name.chars().all(is_code), "{} is not UPPER_SNAKE", reason.name);
                assert!(!reason.when.is_empty() && !reason.action.is_empty(), "{}", reason.name);
                let first = known.entry(reason.name).or_insert(reason);
                assert_eq!(
                    (first.code, first.retry),
                    (reason.code, reason.retry),
                    "{} in {domain}",
                    reason.name
                );
            }
        }
    }
}
