pub mod clock; pub mod model; pub mod reconcile; pub mod sheet; pub mod validate;
