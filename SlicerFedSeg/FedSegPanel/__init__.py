"""The panel's sections, each in its own file: widgets, what clicks do, how a View is drawn. Only here qt is used."""
