"""Where the parts meet a machine: settings, telemetry, the embedded PostgreSQL, the composition."""
