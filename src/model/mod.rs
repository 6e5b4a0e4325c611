//! The words of the domain as types: pure, without I/O, without knowledge of any other module of ours.

pub mod account;
pub mod catalogue;
pub mod code;
pub mod contact;
pub mod digest;
pub mod failure;
pub mod group;
pub mod issue;
pub mod known;
pub mod packed;
pub mod phone;
pub mod plan;
pub mod roster;
pub mod run;
pub mod schedule;
pub mod source;
pub mod table;
pub mod text;

/// Defines an id that can't be mistaken for another table's.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// `accounts.id`
    AccountId
);
id!(
    /// `import_runs.id`
    RunId
);
id!(
    /// `contacts.id`: stable for ever; the platform points at it.
    ContactId
);
id!(
    /// `groups.id`: stable for ever.
    GroupId
);

/// Defines a closed set of words as the database, the JSON and the file spell them.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as stored and printed.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value of a word spelled exactly.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// The value of a word in upper or lower case.
            #[must_use]
            pub fn parse_any_case(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str().eq_ignore_ascii_case(word))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Self::parse(&word).ok_or_else(|| serde::de::Error::custom(format_args!("`{word}` is not known")))
            }
        }
    };
}
pub(crate) use words;
