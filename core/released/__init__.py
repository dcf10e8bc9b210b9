"""Reading and replaying what released code wrote."""
