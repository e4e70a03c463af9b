//! Devices that come and go while the guest runs, in the definition for its next start, or in both. What the guest has
//! stands in its record as soon as QEMU has it, so that a migration or a new agent finds the machine as it is.
//! Main types: [`Part`], [`Detaching`].

use std::sync::Arc;

use api::{AttachRequest, DetachRequest, Device, EventKind, MediaRequest, Scope};
use domain::{Attached, Definition, DiskSource, Domain, MacAddress};
use qemu::command::{DeviceDel, QomList, SetLink};
use qemu::command_line::{device_id, plug};

use super::{Keeper, Reply, State};
use crate::allocate::{Allocator, tap_name};
use crate::failure::{Failure, PlugFailure};
use crate::guest::{self, Guest, RECORD};
use crate::limits::SHOW_TIMEOUT;
use crate::networks::bridge_of;
use crate::node::Node;
use crate::volumes;

/// A device that can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Disk(String),
    Interface(MacAddress),
}

/// A device that the guest was asked to let go of.
pub(super) struct Detaching {
    part: Part,
    /// The definition as it was, where it was changed for this.
    before: Option<Definition>,
    pub(super) reply: Reply<api::Domain>,
}

impl Part {
    fn of(asked: &Device) -> Result<Part, Failure> {
        let mac = |text: &str| {
            text.parse()
                .map(Part::Interface)
                .map_err(|_| Failure::Plug(PlugFailure::NoMac { text: text.to_owned() }))
        };
        match asked {
            Device::Disk(target) => Ok(Part::Disk(target.clone())),
            Device::Interface(text) => mac(text),
            Device::Xml(xml) => match domain::named(xml).map_err(Failure::Definition)? {
                domain::Named::Disk(target) => Ok(Part::Disk(target)),
                domain::Named::Interface(mac) => Ok(Part::Interface(mac)),
            },
        }
    }

    fn attached(domain: &Domain, attached: Attached) -> Part {
        match attached {
            Attached::Disk(place) => Part::Disk(domain.disks[place].target.clone()),
            Attached::Interface(place) => {
                Part::Interface(domain.interfaces[place].mac.expect("what was attached is frozen"))
            }
        }
    }

    /// Its place in its list, where the domain has it.
    fn place(&self, domain: &Domain) -> Option<usize> {
        match self {
            Part::Disk(target) => domain.disks.iter().position(|disk| disk.target == *target),
            Part::Interface(mac) => domain.interfaces.iter().position(|it| it.mac == Some(*mac)),
        }
    }

    /// How QEMU lets go of it.
    fn unplug(&self, domain: &Domain) -> Option<plug::Unplug> {
        let place = self.place(domain)?;
        Some(match self {
            Part::Disk(_) => plug::unplug_disk(domain, place),
            Part::Interface(_) => plug::unplug_interface(domain, place),
        })
    }

    fn without(&self, definition: &Definition) -> Result<Definition, Failure> {
        let left = match self {
            Part::Disk(target) => definition.detach_disk(target),
            Part::Interface(mac) => definition.detach_interface(*mac),
        };
        left.map_err(Failure::Definition)
    }

    /// Every device of a domain that can go.
    fn all(domain: &Domain) -> Vec<Part> {
        let disks = domain.disks.iter().map(|disk| Part::Disk(disk.target.clone()));
        let interfaces = domain.interfaces.iter().filter_map(|it| it.mac.map(Part::Interface));
        disks.chain(interfaces).collect()
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::Disk(target) => write!(formatter, "disk {target}"),
            Part::Interface(mac) => write!(formatter, "interface {mac}"),
        }
    }
}

/// What a change is made to, as things are.
struct Reach {
    live: bool,
    config: bool,
}

impl Keeper {
    fn reach(&mut self, scope: Scope) -> Result<Reach, Failure> {
        self.free()?;
        let active = matches!(self.state, State::Active { .. });
        let (live, config) = match scope {
            Scope::Current => (active, !active),
            Scope::Live => (true, false),
            Scope::Config => (false, true),
            Scope::Both => (true, true),
            Scope::Persistent => (active, true),
        };
        if live {
            self.active()?;
        }
        if config {
            self.kept()?;
        }
        Ok(Reach { live, config })
    }

    /// Takes a change of the definition back.
    fn restore(&mut self, before: Option<Definition>) {
        if let Some(before) = before
            && let Err(failure) = self.replace(before)
        {
            tracing::error!(domain = self.name, "its definition stays changed: {}", failure.chain());
        }
    }

    pub(super) async fn attach(&mut self, request: AttachRequest) -> Result<api::Domain, Failure> {
        let Reach { live, config } = self.reach(request.scope)?;
        let node = Arc::clone(&self.node);
        let xml = volumes::resolved(&node, &request.xml)?;
        let described = self.described().expect("what can be reached has a definition");
        let capabilities = node.capabilities(node.emulator(described.domain())?).await?;
        let mut fill = Allocator { capabilities: &capabilities, firmware: guest::descriptions(), mac: None };
        let mut running = None;
        if let (true, State::Active { guest, .. }) = (live, &self.state) {
            let (definition, attached) =
                guest.definition.attach(&xml, &mut fill, true).map_err(Failure::Definition)?;
            reachable(&node, definition.domain(), attached).await?;
            fill.mac = match attached {
                Attached::Disk(_) => None,
                Attached::Interface(place) => definition.domain().interfaces[place].mac,
            };
            running = Some((definition, attached));
        }
        let mut stored = None;
        if let (true, Some(definition)) = (config, &self.definition) {
            let attached = definition.attach(&xml, &mut fill, false).map_err(Failure::Definition)?;
            guest::check_paths(&node, attached.0.domain())?;
            stored = Some(attached);
        }
        // The definition first: it can be taken back without asking the guest.
        let before = match stored {
            Some((definition, _)) => self.replace(definition)?,
            None => None,
        };
        if let (Some((definition, attached)), State::Active { guest, .. }) = (running, &mut self.state) {
            let part = Part::attached(definition.domain(), attached);
            if let Err(failure) = plug_in(&node, guest, definition, attached).await {
                self.restore(before);
                return Err(failure);
            }
            self.tell(EventKind::DeviceAttached, part.to_string());
        }
        Ok(self.show().await)
    }

    pub(super) async fn change_media(&mut self, request: &MediaRequest) -> Result<api::Domain, Failure> {
        let Reach { live, config } = self.reach(request.scope)?;
        let source = request.source.as_ref().map(|path| DiskSource::File(path.into()));
        let changed = |definition: &Definition| {
            definition.change_media(&request.target, source.as_ref()).map_err(Failure::Definition)
        };
        let mut running = None;
        if let (true, State::Active { guest, .. }) = (live, &self.state) {
            let definition = changed(&guest.definition)?;
            guest::check_paths(&self.node, definition.domain())?;
            if let Some(path) = source.as_ref().and_then(DiskSource::path) {
                storage::open_check(path, false).await?;
            }
            running = Some(definition);
        }
        let mut before = None;
        if let (true, Some(definition)) = (config, &self.definition) {
            let definition = changed(definition)?;
            guest::check_paths(&self.node, definition.domain())?;
            before = self.replace(definition)?;
        }
        if let (Some(definition), State::Active { guest, .. }) = (running, &mut self.state) {
            if let Err(failure) = lay_in(&self.node, guest, definition, request).await {
                self.restore(before);
                return Err(failure);
            }
            let medium = request.source.as_deref().unwrap_or("empty");
            self.tell(EventKind::MediaChanged, format!("disk {}: {medium}", request.target));
        }
        Ok(self.show().await)
    }

    /// Answers when the guest has let go of the device; the asker need not wait for that.
    pub(super) async fn detach(&mut self, request: DetachRequest, reply: Reply<api::Domain>) {
        match self.begin_to_detach(&request).await {
            Ok(Some((part, before))) => {
                if let State::Active { detaching, .. } = &mut self.state {
                    detaching.push(Detaching { part, before, reply });
                }
            }
            Ok(None) => _ = reply.send(Ok(self.show().await)),
            Err(failure) => _ = reply.send(Err(failure)),
        }
    }

    /// Changes the definition and asks the guest; `Some` where the guest has to let go first.
    async fn begin_to_detach(
        &mut self,
        request: &DetachRequest,
    ) -> Result<Option<(Part, Option<Definition>)>, Failure> {
        let Reach { live, config } = self.reach(request.scope)?;
        let part = Part::of(&request.device)?;
        let unknown = |of| Failure::Plug(PlugFailure::NoDevice { device: part.to_string(), of });
        let mut unplug = None;
        if let (true, State::Active { guest, .. }) = (live, &self.state) {
            let going = part.unplug(guest.definition.domain()).ok_or_else(|| unknown("the running guest"))?;
            unplug = Some((going.device, guest.process.qmp.clone()));
        }
        let mut before = None;
        if let (true, Some(definition)) = (config, &self.definition) {
            part.place(definition.domain()).ok_or_else(|| unknown("the definition"))?;
            before = self.replace(part.without(definition)?)?;
        }
        let Some((id, qmp)) = unplug else { return Ok(None) };
        if let Err(error) = qmp.execute(DeviceDel { id }).await {
            self.restore(before);
            return Err(error.into());
        }
        Ok(Some((part, before)))
    }

    /// QEMU has let go of a device, or the guest refuses to.
    pub(super) async fn device_went(&mut self, id: &str, gone: bool) {
        let State::Active { guest, detaching, .. } = &mut self.state else { return };
        let domain = guest.definition.domain();
        let is_it = |part: &Part| part.unplug(domain).is_some_and(|unplug| unplug.device == id);
        let Some(part) = Part::all(domain).into_iter().find(is_it) else { return };
        let asked = detaching.extract_if(.., |asked| asked.part == part).collect::<Vec<_>>();
        if gone && let Err(failure) = let_go(&self.node, guest, &part).await {
            tracing::error!(domain = self.name, "{part} is gone, and its record is not: {}", failure.chain());
        }
        let kind = if gone { EventKind::DeviceDetached } else { EventKind::DeviceKept };
        self.tell(kind, part.to_string());
        for asked in asked {
            if gone {
                let shown = self.show().await;
                _ = asked.reply.send(Ok(shown));
            } else {
                self.restore(asked.before);
                let refused = Failure::Plug(PlugFailure::DeviceRefused {
                    domain: self.name.clone(),
                    device: part.to_string(),
                });
                _ = asked.reply.send(Err(refused));
            }
        }
    }

    /// Finds out which devices the guest has let go of while nobody listened.
    pub(super) async fn find_devices(&mut self) {
        let State::Active { guest, .. } = &self.state else { return };
        let all = QomList { path: "/machine/peripheral".into() };
        let Ok(there) = guest.process.qmp.execute_within(all, SHOW_TIMEOUT).await else { return };
        let domain = guest.definition.domain();
        let ids =
            Part::all(domain).into_iter().filter_map(|part| part.unplug(domain)).map(|unplug| unplug.device);
        let missing: Vec<String> = ids.filter(|id| there.iter().all(|known| known.name != *id)).collect();
        for id in missing {
            self.device_went(&id, true).await;
        }
    }
}

/// Whether this host may open and reach what a device names.
async fn reachable(node: &Node, domain: &Domain, attached: Attached) -> Result<(), Failure> {
    guest::check_paths(node, domain)?;
    match attached {
        Attached::Disk(place) => {
            let disk = &domain.disks[place];
            if let Some(path) = disk.source.as_ref().and_then(DiskSource::path) {
                storage::open_check(path, !disk.readonly).await?;
            }
        }
        Attached::Interface(place) => {
            if let Some(bridge) = bridge_of(&node.config, &domain.interfaces[place].source)? {
                node.network.bridge(&bridge).await?;
            }
        }
    }
    Ok(())
}

/// Gives a running guest the device that `definition` has and it has not, and remembers it.
async fn plug_in(
    node: &Node,
    guest: &mut Guest,
    definition: Definition,
    attached: Attached,
) -> Result<(), Failure> {
    let domain = definition.domain();
    let qmp = &guest.process.qmp;
    let mut record = guest.record.clone();
    definition.xml().clone_into(&mut record.xml);
    match attached {
        Attached::Disk(place) => plug::run(qmp, &plug::disk(domain, place)?).await?,
        Attached::Interface(place) => {
            let taken = |tap: &String| record.taps.contains(tap);
            let mut names = (0..).map(|number| tap_name(record.uuid, number));
            let tap = names.find(|tap| !taken(tap)).expect("numbers do not end");
            plug_interface(node, guest, domain, place, &tap).await?;
            record.taps.push(tap);
        }
    }
    if let Err(error) = node.store.write_run(record.uuid, RECORD, &record) {
        // The guest must not have what a migration would not know of.
        let part = Part::attached(domain, attached);
        if let Some(unplug) = part.unplug(domain)
            && let Err(error) = qmp.execute(DeviceDel { id: unplug.device }).await
        {
            tracing::error!("{part} stays with the guest, and nothing knows of it: {error}");
        }
        return Err(error.into());
    }
    guest.record = record;
    guest.definition = definition;
    Ok(())
}

/// Lays the medium that `definition` has into the drive of a running guest. Where that fails the drive has its old one
/// again.
async fn lay_in(
    node: &Node,
    guest: &mut Guest,
    definition: Definition,
    request: &MediaRequest,
) -> Result<(), Failure> {
    let qmp = &guest.process.qmp;
    let part = Part::Disk(request.target.clone());
    let drive = |definition: &Definition| {
        let place = part.place(definition.domain()).expect("a medium was changed, so its drive is there");
        definition.domain().disks[place].clone()
    };
    let (old, new) = (drive(&guest.definition), drive(&definition));
    plug::run(qmp, &plug::eject(&old, request.force)).await?;
    let mut record = guest.record.clone();
    definition.xml().clone_into(&mut record.xml);
    let laid = match plug::run(qmp, &plug::insert(&new)).await {
        Ok(()) => {
            node.store.write_run(record.uuid, RECORD, &record).map_err(|error| (true, Failure::from(error)))
        }
        Err(error) => Err((false, error.into())),
    };
    if let Err((ejects, failure)) = laid {
        let mut back = if ejects { plug::eject(&new, true) } else { Vec::new() };
        back.extend(plug::insert(&old));
        if let Err(error) = plug::run(qmp, &back).await {
            tracing::error!(domain = definition.domain().name, "{part} has lost its medium: {error}");
        }
        return Err(failure);
    }
    guest.record = record;
    guest.definition = definition;
    Ok(())
}

/// The host's end first: the tap is on its bridge before the guest sees its card.
async fn plug_interface(
    node: &Node,
    guest: &Guest,
    domain: &Domain,
    place: usize,
    tap: &str,
) -> Result<(), Failure> {
    let interface = &domain.interfaces[place];
    let qmp = &guest.process.qmp;
    let steps = plug::interface(domain, place, tap, guest::vhost(&guest.record))?;
    let (host, card) = steps.split_at(steps.len() - 1);
    plug::run(qmp, host).await?;
    let plugged = async {
        if let Some(bridge) = bridge_of(&node.config, &interface.source)? {
            node.network.join(tap, &bridge, interface.mtu, network::Port::Open).await?;
        }
        plug::run(qmp, card).await?;
        if !interface.link_up {
            qmp.execute(SetLink { name: device_id(domain, place), up: false }).await?;
        }
        Ok(())
    };
    let plugged: Result<(), Failure> = plugged.await;
    if plugged.is_err() {
        // With the host's end goes the tap that QEMU has made for it.
        plug::unplug_interface(domain, place).free(qmp).await;
    }
    plugged
}

/// Frees the host's side of a device that the guest no longer has, and remembers that.
async fn let_go(node: &Node, guest: &mut Guest, part: &Part) -> Result<(), Failure> {
    let domain = guest.definition.domain();
    if let Some(unplug) = part.unplug(domain) {
        unplug.free(&guest.process.qmp).await;
    }
    let place = part.place(domain);
    if let (Part::Interface(_), Some(place)) = (part, place)
        && place < guest.record.taps.len()
    {
        let tap = guest.record.taps.remove(place);
        // It went with QEMU's end; this is for one that did not.
        if let Err(error) = node.network.remove(&tap).await {
            tracing::warn!(tap, "a tap was left behind: {error}");
        }
    }
    guest.definition = part.without(&guest.definition)?;
    guest.definition.xml().clone_into(&mut guest.record.xml);
    node.store.write_run(guest.record.uuid, RECORD, &guest.record)?;
    Ok(())
}
