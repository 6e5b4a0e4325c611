//! The words of the domain as types: pure, without I/O, without knowledge of any other module of ours.

pub mod account;
pub mod catalog;
pub mod code;
pub mod contact;
pub mod digest;
pub mod failure;
pub mod group;
pub mod hold;
pub mod host_key;
pub mod issue;
pub mod phone;
pub mod plan;
pub mod row;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod snapshot;

/// Defines an id that can't be mistaken for another table's.
macro_rules! define_id {
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

define_id!(
    /// `accounts.define_id`
    AccountId
);
define_id!(
    /// `import_runs.define_id`
    RunId
);
define_id!(
    /// `contacts.define_id`: stable for ever; the platform points at it.
    ContactId
);
define_id!(
    /// `groups.define_id`: stable for ever.
    GroupId
);

/// Defines a closed set of words as the database, the JSON and the file spell them; an unknown word fails to parse.
macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord,
            strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray,
            serde::Serialize, serde::Deserialize,
        )]
        pub enum $name {
            $($(#[$vdoc])* #[strum(serialize = $word)] #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value, in the order of definition.
            pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

            /// The word as stored and printed.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                self.into()
            }

            /// The value of a word in upper or lower case.
            #[must_use]
            pub fn parse_ignore_case(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str().eq_ignore_ascii_case(word))
            }
        }
    };
}
pub(crate) use string_enum;
