//! What `check` finds: secrets, logins, permissions of each account. Changes nothing. Floor 5.
