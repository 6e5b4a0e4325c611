//! Domain types. No I/O, and no dependency on parsers, storage or other stages.

pub mod account;
pub mod approval;
pub mod catalog;
pub mod code;
pub mod contact;
pub mod digest;
pub mod failure;
pub mod group;
pub mod hold;
pub mod host_key;
pub mod issue;
pub mod mail;
pub mod phone;
pub mod plan;
pub mod row;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod snapshot;

/// Defines an id type for one table, so that ids of different tables cannot be confused.
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
    /// `accounts.id`
    AccountId
);
define_id!(
    /// `import_runs.id`
    RunId
);
define_id!(
    /// `contacts.id`. Imports never change it, because the platform references it.
    ContactId
);
define_id!(
    /// `groups.id`. Imports never change it.
    GroupId
);

/// Defines an enum with one string per variant, as spelled in the database, JSON and files. Parsing an unknown string fails.
macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord,
            strum::Display, strum::EnumString, strum::IntoStaticStr, strum::VariantArray,
            serde::Serialize, serde::Deserialize,
        )]
        pub enum $name {
            $($(#[$vdoc])* #[strum(serialize = $text)] #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// All variants in the order of definition.
            pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

            /// The string as stored and printed.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                self.into()
            }

            /// The variant with this string, ignoring ASCII case; `None` if there is none.
            #[must_use]
            pub fn parse_ignore_case(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str().eq_ignore_ascii_case(text))
            }
        }
    };
}
pub(crate) use string_enum;
