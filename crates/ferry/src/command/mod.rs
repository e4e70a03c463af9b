//! The commands: each asks the agent for something and prints its answer. None decides anything about a domain.
//! Main function: [`run`].

mod agent;
mod bridge;
mod ca;
mod change;
mod check;
mod console;
mod copies;
mod define;
mod devices;
mod dial;
mod doctor;
mod drain;
mod edit;
mod events;
mod fix;
mod generate;
mod hosts;
mod inspect;
mod install;
mod migrate;
mod migrations;
mod plan;
mod pools;
mod power;
mod report;
mod screen;
mod volumes;
mod watch;

use client::Client;

use crate::args::{Args, Ca, Command, Host, Migrations};
use crate::failure::{Exit, Failure};
use crate::printer::Printer;
use crate::resolve;

/// An agent and how its answers are printed.
struct Desk<'a> {
    client: Client,
    printer: &'a Printer,
}

/// Runs a command; the value is what the process ends with.
pub(crate) async fn run(args: Args, printer: &Printer) -> Result<Exit, Failure> {
    match args.command {
        Command::Agent(typed) => agent::run(typed).await,
        Command::Ca(Ca::Init(typed)) => ca::init(&typed, printer),
        Command::Ca(Ca::Issue(typed)) => ca::issue(&typed, printer),
        Command::Doctor(typed) if typed.facts => doctor::facts(printer).await,
        Command::Doctor(typed) => doctor::run(&typed.config, printer).await,
        Command::Generate(typed) => generate::run(&typed.out),
        command => {
            agent::trace_client();
            let place = resolve::agent(&args.reach, std::env::var_os("FERRY_SOCKET"))?;
            ask(command, &place, &Desk { client: place.client(), printer }).await
        }
    }
}

/// Runs a command that asks an agent.
async fn ask(command: Command, place: &resolve::Agent, desk: &Desk<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Create(typed) => install::create(desk, &typed).await,
        Command::Define(typed) => define::define(desk, &typed).await,
        Command::Undefine(typed) => define::undefine(desk, &typed).await,
        Command::Edit(typed) => edit::edit(desk, &typed.domain).await,
        Command::Dumpxml(typed) => define::dumpxml(desk, &typed).await,
        Command::Rename(typed) => change::rename(desk, &typed).await,
        Command::Clone(typed) => copies::clone(desk, &typed).await,
        Command::Import(typed) => copies::import(desk, &typed).await,
        Command::Snapshot(typed) => copies::snapshot(desk, &typed).await,
        Command::Autostart(typed) => change::autostart(desk, &typed).await,
        Command::Setvcpus(typed) => change::setvcpus(desk, &typed).await,
        Command::Setmem(typed) => change::setmem(desk, &typed).await,
        Command::List(typed) => inspect::list(desk, typed.all).await,
        Command::Info(typed) => inspect::info(desk, &typed.domain).await,
        Command::Start(typed) => power::start(desk, &typed.domain).await,
        Command::Shutdown(typed) => power::shutdown(desk, &typed).await,
        Command::Reboot(typed) => power::reboot(desk, &typed).await,
        Command::Reset(typed) => power::reset(desk, &typed.domain).await,
        Command::Destroy(typed) => power::destroy(desk, &typed.domain).await,
        Command::Suspend(typed) => power::suspend(desk, &typed.domain).await,
        Command::Resume(typed) => power::resume(desk, &typed.domain).await,
        Command::AttachDisk(typed) => devices::attach_disk(desk, &typed).await,
        Command::DetachDisk(typed) => devices::detach_disk(desk, &typed).await,
        Command::AttachInterface(typed) => devices::attach_interface(desk, &typed).await,
        Command::DetachInterface(typed) => devices::detach_interface(desk, &typed).await,
        Command::AttachDevice(typed) => devices::attach_device(desk, &typed).await,
        Command::DetachDevice(typed) => devices::detach_device(desk, &typed).await,
        Command::ChangeMedia(typed) => devices::change_media(desk, &typed).await,
        Command::Console(typed) => console::console(desk, &typed).await,
        Command::Vncdisplay(typed) => screen::vncdisplay(desk, &typed.domain).await,
        Command::Screenshot(typed) => screen::screenshot(desk, &typed).await,
        Command::Events(typed) => events::events(desk, &typed).await,
        Command::Check(typed) => check::check(desk, &typed).await,
        Command::Plan(typed) => plan::plan(desk, &typed).await,
        Command::Report(typed) => match typed.id {
            Some(id) => report::one(desk, id).await,
            None => report::all(desk).await,
        },
        Command::Pool(typed) => pools::pool(desk, &typed).await,
        Command::Vol(typed) => volumes::volume(desk, &typed).await,
        Command::Migrate(typed) => migrate::migrate(desk, &typed).await,
        Command::Migrations(Migrations::List) => migrations::list(desk).await,
        Command::Migrations(Migrations::Show(typed)) => migrations::show(desk, typed.id).await,
        Command::Migrations(Migrations::Watch(typed)) => migrations::watch(desk, typed.id).await,
        Command::Migrations(Migrations::Cancel(typed)) => migrations::cancel(desk, typed.id).await,
        Command::Migrations(Migrations::Postcopy(typed)) => migrations::postcopy(desk, typed.id).await,
        Command::Migrations(Migrations::Set(typed)) => migrations::set(desk, &typed).await,
        Command::Migrations(Migrations::SwitchoverNow(typed)) => {
            migrations::switch_over(desk, typed.id).await
        }
        Command::Migrations(Migrations::Resolve(typed)) => migrations::resolve(desk, &typed).await,
        Command::Drain(typed) => drain::drain(desk, &typed).await,
        Command::Host(Host::Info) => inspect::host(desk).await,
        Command::Host(Host::Token(typed)) => hosts::token(desk, &typed).await,
        Command::Host(Host::Join(typed)) => hosts::join(desk, &typed).await,
        Command::Host(Host::List) => hosts::list(desk).await,
        Command::Host(Host::Remove { name }) => hosts::remove(desk, &name).await,
        Command::Bridge(typed) => bridge::bridge(desk, place, &typed).await,
        Command::Version => inspect::version(desk).await,
        Command::DialStdio => dial::dial(place).await,
        Command::Agent(_) | Command::Ca(_) | Command::Doctor(_) | Command::Generate(_) => {
            unreachable!("they ask no agent: `run` has run them")
        }
    }
}
