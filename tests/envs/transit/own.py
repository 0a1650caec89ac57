"""A town of one's own as CSV files: four corners in a row, a minute apart, in two zones."""

NODES = "node,x_m,y_m,zone,stop\na,0,0,west,1\nb,500,0,west,1\nc,1000,0,east,1\nd,1500,0,east,0\ne,9000,0,east,1\n"
ROADS = "from,to,seconds,metres,both\na,b,60,500,1\nb,c,60,500,1\nc,d,60,500,1\n"
REQUESTS = "time_s,from,to\n0,a,c\n30,b,c\n600,c,a\n"


def write(folder, nodes=NODES, roads=ROADS, requests=REQUESTS, more=""):
    """The files and the scenario's; its path."""
    for name, text in (("nodes", nodes), ("roads", roads), ("requests", requests)):
        (folder / f"{name}.csv").write_text(text)
    text = "system: transit\nnodes: nodes.csv\nroads: roads.csv\nrequests: requests.csv\nduration_s: 1200\n"
    path = folder / "mine.yaml"
    usual = {"fleet": "{vehicles: 1, seats: 4}", "timing": "{board_s: 0, alight_s: 0}"}
    path.write_text(text + "".join(f"{key}: {value}\n" for key, value in usual.items() if f"{key}:" not in more) + more)
    return path
