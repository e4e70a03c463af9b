//! What is missing or wrong on this host, each with its mend. It reads the agent's configuration and looks for itself, so
//! it works where no agent runs; it changes nothing but for the moment in which it tries KVM and an address. Main
//! functions: [`examine`], [`facts`].

mod files;
mod machine;
mod others;
mod rules;

use std::path::Path;

use api::{BridgeFacts, Finding, HostFacts, UnknownFact};
use network::{Network, NetworkError};

use crate::config::Config;

/// Looks at everything and tells what is to be mended; the fatal ones keep domains from running or moving.
pub async fn examine(configuration: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let config = match Config::load(configuration) {
        Ok(config) => config,
        Err(error) => {
            let said = crate::failure::chain(&error);
            let mend = "mend the file; docs/configuration.md lists every option";
            found.push(problem("configuration", said, mend));
            return found;
        }
    };
    machine::examine(&config, &mut found).await;
    files::examine(&config, &mut found).await;
    others::examine(&config, &mut found).await;
    found
}

/// What a check tells another host of this machine, its kernel and its bridges.
pub async fn facts() -> HostFacts {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let machine = crate::preflight::machine(&name);
    match bridges().await {
        Ok(bridges) => HostFacts { bridges, ..machine },
        Err(error) => {
            let unknown = UnknownFact { what: "bridges".to_owned(), reason: crate::failure::chain(&error) };
            HostFacts { unknown: [machine.unknown, vec![unknown]].concat(), ..machine }
        }
    }
}

async fn bridges() -> Result<Vec<BridgeFacts>, NetworkError> {
    let network = Network::connect()?;
    let mut bridges = Vec::new();
    for link in network.inventory().await?.into_iter().filter(|link| link.kind.as_deref() == Some("bridge")) {
        let vlans = network.vlans(&link.name).await?;
        let (up, mtu) = (Some(link.up), Some(link.mtu));
        bridges.push(BridgeFacts { name: link.name, up, mtu, vlans, ..BridgeFacts::default() });
    }
    Ok(bridges)
}

fn problem(code: &str, message: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { code: code.to_owned(), fatal: true, message: message.into(), mend: mend.into() }
}

fn warning(code: &str, message: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { fatal: false, ..problem(code, message, mend) }
}
