pub mod clock; pub mod model; pub mod sheet; pub mod validate;
