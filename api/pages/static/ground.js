/* The lights on the page of a grid or an area go on by themselves. */
import {keepTime} from "./lights.js";

keepTime();
