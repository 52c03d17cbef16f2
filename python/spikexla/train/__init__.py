"""Complete training runs on data sets that come with the packages used."""
