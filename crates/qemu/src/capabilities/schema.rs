//! QEMU's description of its own QMP (QAPI `SchemaInfo`): which command takes which argument of which value.
//!
//! Type names in it are masked numbers and mean nothing outside one answer. Kinds of entries that are not known are
//! passed over. It talks to nobody. The main type is [`Schema`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

/// The schema is not a list of entries.
#[derive(Debug, thiserror::Error)]
#[error("QEMU's schema has an unexpected form")]
pub struct SchemaError(#[from] serde_json::Error);

/// Everything that a QEMU's QMP understands.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    commands: BTreeMap<String, Signature>,
    events: BTreeSet<String>,
    types: HashMap<String, Type>,
}

/// Masked names of a command's types.
#[derive(Clone, Debug)]
struct Signature {
    argument: String,
    reply: String,
}

/// What a type takes.
#[derive(Clone, Debug)]
enum Type {
    /// A JSON type by QAPI's `JSONType`.
    Builtin(String),
    Enum(BTreeSet<String>),
    Array(String),
    Object(Object),
    /// One of these types.
    Alternate(Vec<String>),
}

#[derive(Clone, Debug)]
struct Object {
    members: BTreeMap<String, Member>,
    /// Member whose value picks further members.
    tag: Option<String>,
    variants: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Member {
    kind: String,
    optional: bool,
}

/// QAPI `SchemaInfo`, all kinds at once.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: String,
    meta_type: String,
    arg_type: Option<String>,
    ret_type: Option<String>,
    json_type: Option<String>,
    element_type: Option<String>,
    tag: Option<String>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    members: Vec<EntryMember>,
    #[serde(default)]
    variants: Vec<EntryVariant>,
}

#[derive(Deserialize)]
struct EntryMember {
    /// An alternate's members have none.
    #[serde(default)]
    name: String,
    /// An enum's members have none.
    #[serde(rename = "type", default)]
    kind: String,
    /// There, and `null`, where the member may be left out.
    #[serde(default, deserialize_with = "is_there")]
    default: bool,
}

#[derive(Deserialize)]
struct EntryVariant {
    case: String,
    #[serde(rename = "type")]
    kind: String,
}

fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl Schema {
    /// Reads the reply of `query-qmp-schema`.
    pub fn read(reply: Value) -> Result<Self, SchemaError> {
        let entries: Vec<Entry> = serde_json::from_value(reply)?;
        let mut schema = Self::default();
        for entry in entries {
            schema.add(entry);
        }
        Ok(schema)
    }

    fn add(&mut self, entry: Entry) {
        let kind = match entry.meta_type.as_str() {
            "command" => {
                let argument = entry.arg_type.unwrap_or_default();
                let reply = entry.ret_type.unwrap_or_default();
                self.commands.insert(entry.name, Signature { argument, reply });
                return;
            }
            "event" => {
                self.events.insert(entry.name);
                return;
            }
            "builtin" => Type::Builtin(entry.json_type.unwrap_or_default()),
            "enum" => {
                // `values` is the older form, kept by QEMU beside `members`.
                let members = entry.members.into_iter().map(|member| member.name);
                Type::Enum(entry.values.into_iter().chain(members).collect())
            }
            "array" => Type::Array(entry.element_type.unwrap_or_default()),
            "object" => Type::Object(Object {
                members: entry
                    .members
                    .into_iter()
                    .map(|member| (member.name, Member { kind: member.kind, optional: member.default }))
                    .collect(),
                tag: entry.tag,
                variants: entry.variants.into_iter().map(|variant| (variant.case, variant.kind)).collect(),
            }),
            "alternate" => Type::Alternate(entry.members.into_iter().map(|member| member.kind).collect()),
            _ => return,
        };
        self.types.insert(entry.name, kind);
    }

    /// Whether there is a command.
    pub fn has_command(&self, command: &str) -> bool {
        self.commands.contains_key(command)
    }

    /// Whether there is an event.
    pub fn has_event(&self, event: &str) -> bool {
        self.events.contains(event)
    }

    /// Whether a command takes an argument, in whatever variant.
    pub fn has_argument(&self, command: &str, argument: &str) -> bool {
        let Some(Type::Object(object)) =
            self.commands.get(command).and_then(|it| self.types.get(&it.argument))
        else {
            return false;
        };
        object.members.contains_key(argument)
            || object.variants.values().any(|variant| match self.types.get(variant) {
                Some(Type::Object(object)) => object.members.contains_key(argument),
                _ => false,
            })
    }

    /// The values of an enum that a command's argument (`reply` false) or reply (true) leads to, by the names of the
    /// members on the way; lists count for their elements.
    pub fn enum_values(&self, command: &str, reply: bool, path: &[&str]) -> Option<&BTreeSet<String>> {
        let signature = self.commands.get(command)?;
        let mut kind = self.elements(if reply { &signature.reply } else { &signature.argument })?;
        for member in path {
            let Type::Object(object) = kind else { return None };
            kind = self.elements(&object.members.get(*member)?.kind)?;
        }
        match kind {
            Type::Enum(values) => Some(values),
            Type::Builtin(_) | Type::Array(_) | Type::Object(_) | Type::Alternate(_) => None,
        }
    }

    fn elements(&self, name: &str) -> Option<&Type> {
        match self.types.get(name)? {
            Type::Array(element) => self.elements(element),
            kind => Some(kind),
        }
    }

    /// What QEMU would not take of a command; empty where it takes all. `Null` stands for no arguments.
    pub fn mismatches(&self, command: &str, arguments: &Value) -> Vec<String> {
        let Some(signature) = self.commands.get(command) else {
            return vec![format!("there is no command {command}")];
        };
        let empty = Value::Object(serde_json::Map::new());
        let arguments = if arguments.is_null() { &empty } else { arguments };
        let mut found = Vec::new();
        self.compare(&signature.argument, arguments, command, &mut found);
        found
    }

    fn compare(&self, kind: &str, value: &Value, at: &str, found: &mut Vec<String>) {
        match self.types.get(kind) {
            None => found.push(format!("{at}: QEMU describes no type {kind}")),
            Some(Type::Builtin(json)) if fits(json, value) => {}
            Some(Type::Builtin(json)) => found.push(format!("{at}: {value} is no {json}")),
            Some(Type::Enum(values)) => match value.as_str() {
                Some(text) if values.contains(text) => {}
                _ => found.push(format!("{at}: {value} is none of its values")),
            },
            Some(Type::Array(element)) => match value.as_array() {
                Some(list) => list.iter().for_each(|value| self.compare(element, value, at, found)),
                None => found.push(format!("{at}: {value} is no list")),
            },
            Some(Type::Object(object)) => self.compare_object(object, value, at, found),
            Some(Type::Alternate(kinds)) => {
                let fits = |kind: &String| {
                    let mut found = Vec::new();
                    self.compare(kind, value, at, &mut found);
                    found.is_empty()
                };
                if !kinds.iter().any(fits) {
                    found.push(format!("{at}: {value} fits no alternative"));
                }
            }
        }
    }

    /// The members that an object has, given the values of its tags. A variant may have variants of its own.
    fn gather<'a>(
        &'a self,
        object: &'a Object,
        given: &serde_json::Map<String, Value>,
        members: &mut BTreeMap<&'a str, &'a Member>,
    ) {
        members.extend(object.members.iter().map(|(name, member)| (name.as_str(), member)));
        if let Some(case) = object.tag.as_ref().and_then(|tag| given.get(tag)).and_then(Value::as_str)
            && let Some(Type::Object(variant)) =
                object.variants.get(case).and_then(|kind| self.types.get(kind))
        {
            self.gather(variant, given, members);
        }
    }

    fn compare_object(&self, object: &Object, value: &Value, at: &str, found: &mut Vec<String>) {
        let Some(given) = value.as_object() else {
            return found.push(format!("{at}: {value} is no object"));
        };
        let mut members = BTreeMap::new();
        self.gather(object, given, &mut members);
        for (name, value) in given {
            match members.get(name.as_str()) {
                Some(member) => self.compare(&member.kind, value, &format!("{at}.{name}"), found),
                None => found.push(format!("{at}: there is no {name}")),
            }
        }
        for (name, member) in members {
            if !member.optional && !given.contains_key(name) {
                found.push(format!("{at}: {name} is missing"));
            }
        }
    }
}

fn fits(json: &str, value: &Value) -> bool {
    match json {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "int" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => true,
    }
}
