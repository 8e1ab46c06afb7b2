"""The peers of Orchard's server: the same SavedModel behind other Python servers, with their best known settings."""
