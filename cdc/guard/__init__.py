"""One writer per wave, enforced by the databases: `install` guards them, `ownership` fences and hands over."""
