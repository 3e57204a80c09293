//! What each side looked like. Floor 0.
