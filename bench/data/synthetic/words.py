"""Vocabulary of the synthetic problems and the pretraining corpus, most frequent words first.

Draws follow a Zipf law over these lists, as word frequencies of real text do. The order therefore
matters, and appending a word changes every generated text.
"""

from __future__ import annotations

GIRLS = """
Mary Anna Lily Emma Sara Nina Rose Julia Olivia Grace Maya Ella Ruth Alice Clara Zoe Lucy Hannah
Eva Leah Amy Nora Ivy Chloe Mia Jane Kate Sophie Tina Bella Daisy Elena Fiona Gina Holly Irene
Joan Karen Laura Megan Naomi Paula Rita Sally Tara Vera Wendy Yara Abby Beth Carol Diana Edith
Faith Gloria Helen Iris Judy Kim Linda Monica Nancy Pam Robin Stella Tracy Una Violet Willa Amina
Bianca Celia Dora Esther Flora Greta Hilda Inga Jenna Kira Lena Mona Nadia Opal Petra Quinn Rhea
Selma Thea Ursula Wanda Zelda
""".split()

BOYS = """
Tom John Sam Ben Jack Paul Peter David Leo Max Adam Luke Noah Mark Carl Eric Frank George Henry
Ivan James Kevin Liam Mike Nick Oscar Phil Ryan Simon Tim Victor Will Alan Brian Chris Daniel Evan
Fred Greg Hugo Ian Joe Kyle Louis Martin Neil Owen Patrick Roger Scott Tony Walter Aaron Bruce
Colin Derek Edgar Felix Gary Harold Isaac Jason Keith Larry Marcus Norman Otto Perry Ralph Steve
Ted Vincent Wayne Abel Boris Cyrus Dennis Elias Floyd Gus Hector Igor Jonas Klaus Lars Milo Nolan
Omar Pablo Rafael Stefan Tariq Umar Viktor Wesley Yusuf
""".split()

FOODS = """
apples oranges cookies eggs bananas candies pears peaches carrots grapes plums cakes muffins
lemons cherries tomatoes potatoes sandwiches nuts mangoes cupcakes onions berries melons pies
donuts olives figs pancakes waffles apricots radishes turnips peppers limes pretzels biscuits
crackers walnuts almonds dates kiwis beets leeks buns bagels brownies truffles dumplings chestnuts
cucumbers pumpkins strawberries raspberries coconuts papayas rolls tarts wafers peanuts mushrooms
cabbages shallots pickles lollipops gumdrops meatballs samosas
""".split()

THINGS = """
books coins pencils stickers marbles cards balls toys stamps pens balloons flowers boxes cups
shells beads buttons crayons hats stones shirts plates bottles photos badges ribbons candles
bricks toy_cars blocks keys bags rings spoons notebooks magazines dolls kites rulers erasers
puzzles posters envelopes tickets mugs bowls forks socks scarves gloves belts tapes brushes
baskets lamps clocks mirrors vases pillows towels blankets magnets markers folders postcards
comics robots whistles drums bells flags medals trophies feathers pebbles acorns pinecones leaves
seeds bulbs tulips roses daisies lanterns jars nails screws bolts hammers ropes wires batteries
discs dice tokens tiles planks logs sticks corks thimbles spools patches zippers brooches
bracelets necklaces earrings wallets umbrellas backpacks helmets skates bats paddles darts nets
compasses lenses chalks easels canvases paintings statues figurines ornaments garlands wreaths
""".split()

ADJECTIVES = """
red big small blue new old green white little black yellow large round brown long short pink heavy
light soft shiny clean dry wet warm cold plain fresh bright dark flat thin thick wide narrow
smooth rough tiny huge pretty fine good purple gray golden silver wooden plastic metal paper glass
striped spotted painted broken used cheap rare common strange funny quiet gentle neat dusty muddy
rusty hollow solid loose tight curved square pointed dull sharp polished folded wrapped labeled
numbered handmade antique modern foreign local imported spare extra simple fancy elegant sturdy
fragile crooked faded glossy velvet woolen cotton leather marble ivory crimson scarlet turquoise
violet lavender beige olive maroon copper bronze
""".split()

PLACES = """
school market park store garden library shop farm beach kitchen office station museum zoo bakery
fair classroom river yard club hall cafe gym harbor lake forest theater bank castle attic barn
cellar workshop studio stadium airport hotel temple orchard meadow bridge tower village
""".split()

CONTAINERS = """
boxes bags baskets jars shelves trays packs bowls rows crates drawers buckets cartons cases bins
chests sacks pots barrels tubs racks pouches bundles stacks
""".split()

PEOPLE = """
friends children students cousins neighbors classmates players guests sisters brothers teachers
workers visitors campers singers dancers sailors farmers painters runners
""".split()

VERBS = """
likes sees keeps wants loves needs cleans paints washes counts draws sorts shows holds carries
moves brings hides packs finds opens checks lifts fixes watches orders admires stores wraps
gathers prefers touches notices polishes borrows repairs labels stacks inspects arranges studies
collects photographs describes examines weighs measures decorates protects
""".split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
