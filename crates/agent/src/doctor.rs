//! What is missing or wrong on this host, each with its mend. It reads the agent's configuration and looks for itself, so
//! it works where no agent runs; it changes nothing but for the moment in which it tries KVM and an address. Main
//! function: [`examine`].

mod files;
mod machine;
mod others;
mod rules;

use std::path::Path;

use api::Finding;

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

fn problem(code: &str, message: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { code: code.to_owned(), fatal: true, message: message.into(), mend: mend.into() }
}

fn warning(code: &str, message: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { fatal: false, ..problem(code, message, mend) }
}
