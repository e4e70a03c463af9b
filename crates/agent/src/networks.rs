//! Which bridge an interface is on, on this host: a network is another bridge on each. Main function: [`bridge_of`].

use domain::{InterfaceSource, network_bridge};

use crate::config::Config;
use crate::failure::Failure;

/// The bridge of an interface on this host; none for user networking, which needs none. A network is looked up in
/// `networks` of the configuration first, then in libvirt's own definition of it.
pub(crate) fn bridge_of(config: &Config, source: &InterfaceSource) -> Result<Option<String>, Failure> {
    let network = match source {
        InterfaceSource::Bridge(bridge) => return Ok(Some(bridge.clone())),
        InterfaceSource::Network(network) => network,
        InterfaceSource::User { .. } => return Ok(None),
    };
    if let Some(bridge) = config.networks.get(network) {
        return Ok(Some(bridge.clone()));
    }
    let unknown = |reason: String| Failure::NetworkUnknown {
        network: network.clone(),
        host: config.host.clone(),
        reason,
    };
    let path = config.network_dir.join(format!("{network}.xml"));
    let xml = std::fs::read_to_string(&path)
        .map_err(|error| unknown(format!("{} cannot be read: {error}", path.display())))?;
    match network_bridge(&xml) {
        Ok(Some(bridge)) => Ok(Some(bridge)),
        Ok(None) => Err(unknown(format!("{} names no bridge", path.display()))),
        Err(error) => Err(unknown(format!("{}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(network: &str, expect: Result<Option<&str>, &str>) {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, xml: &str| std::fs::write(directory.path().join(name), xml).unwrap();
        write("default.xml", "<network><forward mode='nat'/><bridge name='virbr0'/></network>");
        write("lan.xml", "<network><forward mode='bridge'/><bridge name='br7'/></network>");
        write("card.xml", "<network><forward mode='passthrough'/></network>");
        let text = "host = \"kvm1\"\n[networks]\nlan = \"br0\"\n";
        let mut config: Config = toml::from_str(text).unwrap();
        config.network_dir = directory.path().to_owned();
        let found = bridge_of(&config, &InterfaceSource::Network(network.to_owned()));
        let shown = |error: Failure| error.to_string().replace(directory.path().to_str().unwrap(), "DIR");
        assert_eq!(found.map_err(shown), expect.map(|it| it.map(str::to_owned)).map_err(str::to_owned));
    }

    #[test]
    fn a_network_is_the_bridge_that_this_host_says() {
        check("default", Ok(Some("virbr0")));
        check("lan", Ok(Some("br0")));
        check("card", Err("host kvm1 has no bridge for the network card: DIR/card.xml names no bridge"));
        check(
            "none",
            Err(
                "host kvm1 has no bridge for the network none: DIR/none.xml cannot be read: No such file or directory (os error 2)",
            ),
        );
    }
}
