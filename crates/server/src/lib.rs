//! Answers HTTP: routes, authentication and the readable API pages.
