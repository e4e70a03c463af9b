//! Hosts with real agents: how they join each other, and how a workstation reaches them.

mod agent;
mod join;
mod ssh;
