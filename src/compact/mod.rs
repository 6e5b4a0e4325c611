//! Contacts and issues of a file in a compact binary form, about as large as their text.

mod coding;
mod contacts;
mod issues;

pub use contacts::{ContactEncoder, Contacts, EncodedContact};
pub use issues::{Issues, MAX_LISTED};
