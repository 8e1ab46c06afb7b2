"""What Orchard's server is measured against: the same SavedModel behind other Python servers, each with its best known settings."""
