//! Test doubles and the suite that every adapter must pass.
